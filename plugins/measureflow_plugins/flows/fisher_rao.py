"""Reaction: masses grow where the potential is low."""

from typing import ClassVar, final

import attrs

from measureflow.coupling import Potential
from measureflow.flow import Context, Flow
from measureflow.measure import Need, Particles
from measureflow.schedule import Schedule, scheduled
from measureflow_plugins.flows.moves import reacted


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
