"""Everyone at once."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import apply_flows


@final
@attrs.frozen
class Simultaneous(Scheme):
    """Every measure reads the others as they were before the step (Algorithm 1 as printed)."""

    kind: ClassVar[str] = "simultaneous"

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        return system.replace({name: apply_flows(dynamics, name, system, h) for name in dynamics.flows})
