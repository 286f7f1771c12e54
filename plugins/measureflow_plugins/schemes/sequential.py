"""One measure after the other."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import one_after_the_other


@final
@attrs.frozen
class Sequential(Scheme):
    """Measures move in the order of the config; each sees those before it as they now are (the authors' program)."""

    kind: ClassVar[str] = "sequential"
    in_place: ClassVar[bool] = True

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        return one_after_the_other(system, dynamics, h)
