"""A step in parts: the same step numbers, schedules and metrics with a finer h."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.core.schedule import MANY, within
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, Resting
from measureflow.dynamics.scheme import Scheme, WrappedScheme
from measureflow_plugins.schemes.sequential import Sequential


@final
@attrs.frozen
class Substeps(WrappedScheme):
    """A step of size h is `parts` steps of size h / parts of the scheme `of`, each with noise of its own.

    The clock, and with it every schedule, stands still within the step. A flow that acts once a step whatever h is (restart
    with a probability, average) acts in the first part where nothing comes before it in its list, else in the last.
    Part i draws from the key ("part", i).
    """

    kind: ClassVar[str] = "substeps"
    of: Scheme = attrs.field(factory=Sequential)
    parts: int = attrs.field(default=2, validator=within(1, MANY))

    @property
    def inner(self) -> Scheme:
        return self.of

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        for part in range(self.parts):
            system = self.of.advance(system, self._part(dynamics, part), h / self.parts)
        return system

    def _part(self, dynamics: Dynamics, part: int) -> Dynamics:
        first, last = part == 0, part == self.parts - 1
        flows = {name: tuple(_turns(each, first, last)) for name, each in dynamics.flows.items()}
        return attrs.evolve(dynamics, flows=flows, noise=dynamics.noise.at("part", part))


def _turns(flows: Iterable[Flow], first: bool, last: bool) -> Iterator[Flow]:
    """The flows of one part, those that act once a step resting where it is not their turn."""
    leading = True
    for flow in flows:
        leading = leading and flow.once
        yield Resting(flow) if flow.once and not (first if leading else last) else flow
