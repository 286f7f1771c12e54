"""A random part of a measure, for metrics whose cost is quadratic in its size."""

from measureflow.core.measure import Particles
from measureflow.core.noise import Noise


def thinned(mu: Particles, at_most: int, noise: Noise) -> Particles:
    """`mu` itself where it has at most that many atoms, else that many of them, drawn without replacement; masses kept."""
    if mu.size <= at_most:
        return mu
    return mu.take(noise.uniform(mu, "thinned").argsort()[:at_most])


def probability(mu: Particles) -> Particles:
    """A positive measure scaled to mass 1."""
    return mu.replace(log_mass=mu.log_mass - mu.log_mass.logsumexp(0))
