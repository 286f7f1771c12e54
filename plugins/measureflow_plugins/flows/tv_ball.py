"""Keeps a signed measure in a ball of total variation."""

from typing import ClassVar, Literal, final

import attrs
import torch

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled, within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow


@final
@attrs.frozen
class TvBall(Flow):
    """TV(mu) = sum |mass| <= radius, by Algorithm 1's projection or by the multiplier of eq. 7.

    method "projection": w <- w R / max(TV, R). method "multiplier": d log w = -r K dt with K = 1[TV >= R] max(-mean s w V,
    0) / TV, which cancels the growth that a reaction of the same `rate` causes at the bound and lets mass shrink (as
    printed, eq. 7 freezes it there); a step of size h leaves the ball by O(h^2).
    """

    kind: ClassVar[str] = "tv-ball"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True
    parts: ClassVar[bool] = True
    radius: float = attrs.field(validator=within(0.0, open_low=True))
    method: Literal["projection", "multiplier"] = "projection"
    rate: Schedule = scheduled(1.0)

    def pace(self, step: int) -> float:
        return 0.0  # a bound does not drive

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        if h == 0:
            return mu
        tv = context.reducer.total(mu, mu.log_mass.exp())
        if self.method == "projection":
            return mu.replace(log_mass=mu.log_mass - torch.log((tv / self.radius).clamp(min=1)))
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        growth = -context.reducer.total(mu, mu.mass * potential(mu.points, Need.VALUE).value)
        K = torch.where(tv >= self.radius, growth.clamp(min=0) / tv, torch.zeros_like(tv))
        return mu.replace(log_mass=mu.log_mass - h * K)
