"""The Metropolis-adjusted geodesic step: Langevin whose stationary law is right at any step size."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from measureflow.core.measure import Field, Need, Particles
from measureflow.dynamics.coupling import Potential

ACCEPTED = "accepted"  # the mark (M,): 1 where the atom's last proposal was accepted, else 0


def adjusted(
    mu: Particles, potential: Potential, h: float, T: float, normal: Float[Tensor, "M d"], uniform: Float[Tensor, " M"]
) -> Particles:
    """One step towards exp(-s V/T) dtau: y = exp_x(v), v tangent Gaussian of mean m(x) and variance 2 T h, kept or refused.

    m = h (T grad log tau - s grad V), log q(y | x) = -|v - m|^2 / (4 T h) - log |det d exp_x(v)|. Beyond the injectivity
    radius that is not y's density, since a shorter vector leads there too: refused. Asks the potential twice.
    """
    x, domain = mu.points, mu.domain
    V = potential(x, Need.BOTH)
    step = domain.tangent(x, normal) * math.sqrt(2 * T * h)
    v = step + _drift(mu, x, V, h, T)
    y = domain.exp(x, v)
    W = potential(y, Need.BOTH)
    back = domain.log(y, x)
    there = _log_gauss(step, T * h) - domain.log_volume(x, v)
    here = _log_gauss(back - _drift(mu, y, W, h, T), T * h) - domain.log_volume(y, back)
    ratio = _log_target(mu, y, W, T) - _log_target(mu, x, V, T) + here - there
    # a proposal that is not finite is taken, so that the step is reported instead of standing still for ever
    accepted: Bool[Tensor, " M"] = (uniform.log() < ratio) | ~torch.isfinite(v.sum(1))
    marks = {**mu.marks, ACCEPTED: accepted.to(x.dtype)}
    return mu.replace(points=torch.where(accepted[:, None], y, x), marks=marks)


def _drift(mu: Particles, at: Tensor, V: Field, h: float, T: float) -> Tensor:
    down = V.grad * (-h * mu.sign)[:, None]
    return mu.domain.tangent(at, down if mu.domain.flat else down + mu.domain.score(at) * (T * h))


def _log_target(mu: Particles, at: Tensor, V: Field, T: float) -> Tensor:
    return mu.domain.log_density(at) - mu.sign * V.value / T


def _log_gauss(v: Tensor, Th: float) -> Tensor:
    return v.square().sum(1) * (-0.25 / Th)
