"""One flow several times in a row."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import Particles
from measureflow.core.schedule import MANY, within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow, WrappedFlow


@final
@attrs.frozen
class Repeat(WrappedFlow):
    """`times` steps of `flow`, each of size h with noise of its own, before anything else moves.

    After restart with probability 1, repeated Langevin is k-step contrastive divergence. The potential is one function
    throughout, which is exact where it does not depend on the measure that moves (the walkers' potential of dual-ebm); where
    it does (MMD, SVGD), write the flow `times` times into the list instead, and it is bound again each time.
    """

    kind: ClassVar[str] = "repeat"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    times: int = attrs.field(validator=within(1, MANY))
    flow: Flow

    @property
    def inner(self) -> Flow:
        return self.flow

    def pace(self, step: int) -> float:
        return self.times * self.flow.pace(step)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        for turn in range(self.times):
            system = context.system.replace({context.measure: mu})
            mu = self.flow.step(mu, potential, h, attrs.evolve(context, system=system, noise=context.noise.at("repeat", turn)))
        return mu
