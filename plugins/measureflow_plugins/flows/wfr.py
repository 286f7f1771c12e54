"""Wasserstein-Fisher-Rao: transport and reaction from one field."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows._moves import Method, displaced, downhill, reacted


@final
@attrs.frozen
class Wfr(Flow):
    """dp = -r a s grad V dt and d log w = -r b (s V - c) dt, both from V at the old points (Domingo-Enrich et al., eq. 6).

    r is `rate`, a is `transport`, b is `reaction`; `conserve` keeps the total variation, otherwise c = 0.
    """

    kind: ClassVar[str] = "wfr"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True
    parts: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)
    transport: Schedule = scheduled(1.0)
    reaction: Schedule = scheduled(1.0)
    conserve: bool = False
    method: Method = "euler"

    def pace(self, step: int) -> float:
        return self.rate(step) * max(self.transport(step), self.reaction(step))

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        along, grow = h * self.transport(context.step), h * self.reaction(context.step)
        if along == grow == 0:
            return mu
        V = potential(mu.points, Need.BOTH if along else Need.VALUE)
        moved = displaced(mu, downhill(mu, V.grad, along), self.method) if along else mu
        return reacted(moved, V.value, grow, self.conserve, context.reducer)
