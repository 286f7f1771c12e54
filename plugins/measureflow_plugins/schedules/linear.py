"""From one value to another along a straight line."""

from typing import ClassVar, final

import attrs

from measureflow.core.schedule import Schedule, within
from measureflow_plugins.schedules._progress import between, progress


@final
@attrs.frozen
class LinearSchedule(Schedule):
    """`start` up to step `begin`, `end` from step `begin + steps` on, (1 - u) start + u end between.

    u is the part of the steps done.
    """

    kind: ClassVar[str] = "linear"
    start: float
    end: float
    steps: int = attrs.field(validator=within(1))
    begin: int = attrs.field(default=0, validator=within(0))

    def __call__(self, step: int) -> float:
        u = progress(step, self.begin, self.steps)
        return between((1 - u) * self.start + u * self.end, *self.range)

    @property
    def range(self) -> tuple[float, float]:
        return (min(self.start, self.end), max(self.start, self.end))
