"""From one value to another by the same factor every step."""

from typing import ClassVar, final

import attrs

from measureflow.core.schedule import Schedule, within
from measureflow_plugins.schedules._progress import between, progress


@final
@attrs.frozen
class ExponentialSchedule(Schedule):
    """`start` up to step `begin`, `end` from step `begin + steps` on, start^(1 - u) end^u between, u the part of the steps done.

    Both ends must be above 0.
    """

    kind: ClassVar[str] = "exponential"
    start: float = attrs.field(validator=within(0.0, open_low=True))
    end: float = attrs.field(validator=within(0.0, open_low=True))
    steps: int = attrs.field(validator=within(1))
    begin: int = attrs.field(default=0, validator=within(0))

    def __call__(self, step: int) -> float:
        u = progress(step, self.begin, self.steps)
        return between(self.start ** (1 - u) * self.end**u, *self.range)

    @property
    def range(self) -> tuple[float, float]:
        return (min(self.start, self.end), max(self.start, self.end))
