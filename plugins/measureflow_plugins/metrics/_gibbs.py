"""The learned Gibbs law exp(-beta f) dtau / Z as weighted atoms: by quadrature on S^1 and S^2, by annealing elsewhere."""

import math
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import MANY, within
from measureflow.dynamics.coupling import Potential
from measureflow_plugins.metrics._annealing import Bridge, anneal
from measureflow_plugins.metrics._quadrature import has_quadrature, quadrature


@final
@attrs.frozen
class Rule:
    """How a Gibbs law is integrated: `nodes` on a great circle of S^1 or S^2 (nodes^2 / 2 points there); elsewhere annealed
    importance sampling with `chains` independent chains along `temperatures` equal steps of the inverse temperature."""

    nodes: int = attrs.field(default=512, validator=within(8, MANY))
    chains: int = attrs.field(default=2048, validator=within(8, MANY))
    temperatures: int = attrs.field(default=256, validator=within(1, MANY))


@final
@attrs.frozen(eq=False)
class Law:
    """A Gibbs law: `atoms` of total mass 1, log Z against tau with its error bar, the effective share of the atoms.

    By quadrature `coarse` is the law on half the nodes, whose distance is the error bar, and `ess` is 1; where the energy has
    kinks (relu) the error can exceed this distance, so it is an estimate and no bound. By sampling the atoms
    are independent, `ess` = (sum w)^2 / (n sum w^2), and error bars are standard errors.
    """

    atoms: Particles
    log_z: Float[Tensor, ""]
    error: Float[Tensor, ""]
    ess: Float[Tensor, ""]
    coarse: "Law | None" = None

    def mean(self, g: Potential) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The integral of g, and its error bar."""
        values, mass = g(self.atoms.points, Need.VALUE).value, self.atoms.mass
        mean = (mass * values).sum()
        if self.coarse is not None:
            return mean, (mean - (self.coarse.atoms.mass * g(self.coarse.atoms.points, Need.VALUE).value).sum()).abs()
        return mean, (mass * (values - mean)).square().sum().sqrt()

    def halves(self) -> "tuple[Law, ...]":
        """Two independent laws of half the samples each; none by quadrature, which has no noise to be kept apart."""
        if self.coarse is not None:
            return ()
        rows = torch.arange(self.atoms.size, device=self.atoms.points.device)
        parts = [self.atoms.take(half) for half in rows.tensor_split(2)]
        return tuple(attrs.evolve(self, atoms=part.replace(log_mass=part.log_mass - part.log_mass.logsumexp(0))) for part in parts)


def gibbs(energy: Potential, beta: float, home: Particles, rule: Rule, noise: Noise) -> Law:
    """The law exp(-beta f) dtau / Z on the domain and dimension of `home`."""
    if has_quadrature(home.domain, home.dim):
        coarse = _on_nodes(energy, beta, home, rule.nodes // 2, None)
        return _on_nodes(energy, beta, home, rule.nodes, coarse)
    bridge = Bridge.to(energy, home.domain, home.dim, beta)
    points, log_w = anneal(bridge, home.dim, rule.chains, rule.temperatures, noise.at("annealing"), home.points)
    total = log_w.logsumexp(0)
    atoms = Particles.uniform(points, home.domain).replace(log_mass=log_w - total)
    squares = atoms.mass.square().sum()
    error = (squares - 1 / rule.chains).clamp(min=0).sqrt()  # of log mean w: std(w) / (mean(w) sqrt(n))
    return Law(atoms, total - math.log(rule.chains), error, 1 / (rule.chains * squares))


def _on_nodes(energy: Potential, beta: float, home: Particles, nodes: int, coarse: Law | None) -> Law:
    tau = quadrature(home.domain, home.dim, nodes, home.points)
    log_w = tau.log_mass - beta * energy(tau.points, Need.VALUE).value
    log_z = log_w.logsumexp(0)
    error = torch.zeros_like(log_z) if coarse is None else (log_z - coarse.log_z).abs()
    return Law(tau.replace(log_mass=log_w - log_z), log_z, error, torch.ones_like(log_z), coarse)
