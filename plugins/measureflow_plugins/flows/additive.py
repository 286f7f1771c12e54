"""Additive reaction: signed masses move along the potential, and may change sign."""

from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow


@final
@attrs.frozen
class Additive(Flow):
    """d(s w) = -r V dt at fixed points, w_j = M |mass_j|: the gradient flow of the masses in L2 of the points' law.

    With the points a frozen sample of tau, h_j = s_j w_j is a function on them and integral phi dmu = (1/M) sum_j h_j
    phi(., p_j) an energy of F2. `l2-ball` after it keeps |h| bounded.
    """

    kind: ClassVar[str] = "additive"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        return massed(mu, mu.mass - potential(mu.points, Need.VALUE).value * (h / mu.whole))


def massed(mu: Particles, mass: Tensor) -> Particles:
    """`mu` with signed masses (n,); 0 is held at the smallest normal number, since its logarithm is what is stored."""
    size = mass.abs().clamp(min=torch.finfo(mass.dtype).tiny)
    return mu.replace(sign=torch.where(mass < 0, -1.0, 1.0).to(mass.dtype), log_mass=size.log())
