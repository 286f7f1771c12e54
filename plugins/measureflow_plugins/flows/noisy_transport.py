"""Transport along gradients read at noisy points: noise injection."""

from typing import ClassVar, final

import attrs

from measureflow.coupling import Potential
from measureflow.flow import Context, Flow
from measureflow.measure import Need, Particles
from measureflow.schedule import Schedule, scheduled
from measureflow_plugins.flows.moves import Method, displaced, downhill


@final
@attrs.frozen
class NoisyTransport(Flow):
    """dp = -r s grad V(p + level u) dt, u standard normal, moved from the unperturbed p (Arbel et al. 2019).

    The noise is in where the gradient is read, not in the motion, so that particles come to rest where `level` goes to 0,
    and a discrepancy with local minima is smoothed on the way. On a curved domain the reading point is the retraction of a
    tangent normal, and the gradient there is projected on the tangent space at p. level 0 is the wasserstein flow.
    """

    kind: ClassVar[str] = "noisy-transport"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    level: Schedule = scheduled(1.0)
    method: Method = "euler"

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h, level = h * self.rate(context.step), self.level(context.step)
        if h == 0:
            return mu
        at = mu.points
        if level > 0:
            aside = mu.domain.tangent(at, context.noise.normal(mu).mul_(level))
            at = mu.domain.retract(at, aside)
        return displaced(mu, downhill(mu, potential(at, Need.GRAD).grad, h), self.method)
