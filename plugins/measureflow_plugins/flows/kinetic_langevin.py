"""Kinetic (underdamped) Langevin by the BAOAB splitting."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow

MOMENTUM = "momentum"


@final
@attrs.frozen
class KineticLangevin(Flow):
    """dp = r v dt, dv = -r (s grad V - T grad log tau) dt - g r v dt + sqrt(2 g T r) dW, towards exp(-V/T) dtau x N(0, T).

    g is the `friction`. BAOAB: half a kick, half a drift, the exact Ornstein-Uhlenbeck step of v, half a drift, half a kick;
    the positions' error is O(h^2), none for a Gaussian. Drifts follow geodesics, v is transported and kept tangent. v is the
    mark "momentum", which starts from N(0, T) in the tangent space, T that of step 0. Asks the potential twice.
    """

    kind: ClassVar[str] = "kinetic-langevin"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    temperature: Schedule = scheduled(1.0)
    friction: Schedule = scheduled(1.0)

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        normal = noise.normal(mu, MOMENTUM) * math.sqrt(self.temperature(0))
        return {MOMENTUM: mu.domain.tangent(mu.points, normal)}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h, T = h * self.rate(context.step), self.temperature(context.step)
        if h == 0:
            return mu
        keep = math.exp(-h * self.friction(context.step))
        x, v = mu.points, mu.marks[MOMENTUM]
        x, v = _drift(mu, x, v + _force(mu, x, potential, T) * (h / 2), h / 2)
        normal = mu.domain.tangent(x, context.noise.normal(mu))
        v = v * keep + normal * math.sqrt(T * (1 - keep**2))
        x, v = _drift(mu, x, v, h / 2)
        v = mu.domain.tangent(x, v + _force(mu, x, potential, T) * (h / 2))
        return mu.replace(points=x, marks={**mu.marks, MOMENTUM: v})


def _force(mu: Particles, x: Tensor, potential: Potential, T: float) -> Tensor:
    force = -mu.sign[:, None] * potential(x, Need.GRAD).grad
    return mu.domain.tangent(x, force if mu.domain.flat else force + T * mu.domain.score(x))


def _drift(mu: Particles, x: Tensor, v: Tensor, h: float) -> tuple[Tensor, Tensor]:
    """Along the geodesic for time h."""
    end = mu.domain.exp(x, v * h)
    return end, mu.domain.tangent(end, mu.domain.transport(x, v, v * h))
