"""Transport without noise."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows._moves import Method, displaced, downhill


@final
@attrs.frozen
class Wasserstein(Flow):
    """dp = -r s grad V dt, tangent-projected; masses stand still."""

    kind: ClassVar[str] = "wasserstein"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)
    method: Method = "euler"

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        return displaced(mu, downhill(mu, potential(mu.points, Need.GRAD).grad, h), self.method)
