"""Transport along gradients read at noisy points: noise injection."""

from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows._moves import Method, displaced, downhill


@final
@attrs.frozen
class NoisyTransport(Flow):
    """dp = -r s grad V(p + level u) dt, u standard normal, moved from the unperturbed p (Arbel et al. 2019).

    The noise is in where the gradient is read, not in the motion, so that particles come to rest where `level` goes to 0,
    and a discrepancy with local minima is smoothed on the way. On a curved domain the reading point is the retraction of a
    tangent normal, and the gradient along the domain there is projected on the tangent space at p. level 0 is the wasserstein
    flow.
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
        grad = _noisy(mu, potential, level, context) if level > 0 else potential(mu.points, Need.GRAD).grad
        return displaced(mu, downhill(mu, grad, h), self.method)


def _noisy(mu: Particles, potential: Potential, level: float, context: Context) -> Tensor:
    """The gradient at noisy points, along the domain there: what is normal at one point is not so at another."""
    aside = mu.domain.tangent(mu.points, context.noise.normal(mu).mul_(level))
    at = mu.domain.retract(mu.points, aside)
    return mu.domain.tangent(at, potential(at, Need.GRAD).grad)
