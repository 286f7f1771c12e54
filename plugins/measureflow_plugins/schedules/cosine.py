"""From one value to another along half a cosine."""

import math
from typing import ClassVar, final

import attrs

from measureflow.core.schedule import Schedule, within
from measureflow_plugins.schedules._progress import between, progress


@final
@attrs.frozen
class CosineSchedule(Schedule):
    """`start` up to step `begin`, `end` from step `begin + steps` on, (1 - c) start + c end between.

    c = (1 - cos(pi u)) / 2, u the part of the steps done: the slope is 0 at both ends.
    """

    kind: ClassVar[str] = "cosine"
    start: float
    end: float
    steps: int = attrs.field(validator=within(1))
    begin: int = attrs.field(default=0, validator=within(0))

    def __call__(self, step: int) -> float:
        c = (1 - math.cos(math.pi * progress(step, self.begin, self.steps))) / 2
        return between((1 - c) * self.start + c * self.end, *self.range)

    @property
    def range(self) -> tuple[float, float]:
        return (min(self.start, self.end), max(self.start, self.end))
