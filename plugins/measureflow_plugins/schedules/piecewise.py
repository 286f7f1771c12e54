"""Constant between given steps."""

import bisect
from typing import ClassVar, final

import attrs

from measureflow.core.schedule import Schedule


@final
@attrs.frozen
class PiecewiseSchedule(Schedule):
    """`values[0]` before step `steps[0]`, `values[1]` from there to step `steps[1]`, and so on: one value more than steps.

    Raises ValueError where the numbers do not fit, or the steps do not grow from 1 on.
    """

    kind: ClassVar[str] = "piecewise"
    values: tuple[float, ...] = attrs.field(converter=tuple)
    steps: tuple[int, ...] = attrs.field(converter=tuple)

    def __attrs_post_init__(self) -> None:
        if len(self.values) != len(self.steps) + 1:
            raise ValueError(f"{len(self.steps)} steps part {len(self.steps) + 1} values, got {list(self.values)}")
        if any(late <= early for early, late in zip((0, *self.steps), self.steps, strict=False)):
            raise ValueError(f"steps must grow, from 1 on, got {list(self.steps)}")

    def __call__(self, step: int) -> float:
        return self.values[bisect.bisect_right(self.steps, step)]

    @property
    def range(self) -> tuple[float, float]:
        return (min(self.values), max(self.values))
