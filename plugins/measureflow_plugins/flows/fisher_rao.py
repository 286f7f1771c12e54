"""Reaction: masses grow where the potential is low."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows._moves import reacted


@final
@attrs.frozen
class FisherRao(Flow):
    """d log w = -r (s V - c) dt; `conserve` keeps the total variation (c the weighted mean), otherwise c = 0."""

    kind: ClassVar[str] = "fisher-rao"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True
    parts: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)
    conserve: bool = False

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        return reacted(mu, potential(mu.points, Need.VALUE).value, h, self.conserve, context.reducer)
