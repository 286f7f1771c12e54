"""Schedules: a rate, probability, temperature or step size as a function of the step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, final

import attrs

LARGEST = 1e18  # of a rate or a step size: their product must fit in float32
LONGEST = 10**15  # of a number of steps, which a float then holds exactly
MANY = 10**6  # of what a step or a metric takes one after another, or holds beside the measures


class Schedule(ABC):
    """A number that may change with the step.

    Write one when a rate, a probability, a temperature or the step size h should follow a law of its own. A subclass is
    a final frozen attrs class with a `kind`; a config gives it as a table, `rate = {kind = "linear", ...}`, wherever a
    plain number is allowed. Implement

    - `__call__(step)`: the value at integer `step >= 0`, a float, the same for the same step;
    - `range`: the lowest and the highest value over all steps, so that a probability can be checked before the run.
    """

    family: ClassVar[str] = "schedule"
    kind: ClassVar[str]

    @abstractmethod
    def __call__(self, step: int) -> float:
        """The value at `step`."""

    @property
    @abstractmethod
    def range(self) -> tuple[float, float]:
        """`(lowest, highest)` value over all steps."""


@final
@attrs.frozen
class Constant(Schedule):
    """The same value at every step; what a plain number in a config becomes."""

    kind: ClassVar[str] = "constant"
    value: float

    def __call__(self, step: int) -> float:
        return self.value

    @property
    def range(self) -> tuple[float, float]:
        return (self.value, self.value)


@final
@attrs.frozen
class Halved(Schedule):
    """Another schedule, halved from each step of `at` on: the step size of a run that met trouble and went on."""

    kind: ClassVar[str] = "halved"
    of: Schedule
    at: tuple[int, ...]

    def __call__(self, step: int) -> float:
        return float(self.of(step) * 0.5 ** sum(step >= start for start in self.at))

    @property
    def range(self) -> tuple[float, float]:
        lowest, highest = self.of.range
        return (lowest * 0.5 ** len(self.at), highest)


def as_schedule(value: "Schedule | float") -> Schedule:
    """A number as a `Constant`, a schedule as itself; raises TypeError on anything else."""
    if isinstance(value, Schedule):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number or a schedule, got {value!r}")
    return Constant(float(value))


def within(low: float, high: float = float("inf"), *, open_low: bool = False) -> Callable[[Any, Any, Any], None]:
    """An attrs validator: a number or a schedule inside [low, high] (NaN is never inside); raises ValueError."""

    def check(_instance: Any, attribute: Any, value: Any) -> None:
        if value is None:
            return
        lowest, highest = value.range if isinstance(value, Schedule) else (value, value)
        bottom = lowest > low if open_low else lowest >= low
        if not (bottom and highest <= high and abs(highest) != float("inf")):
            shown = lowest if lowest == highest or (lowest != lowest) else f"[{lowest}, {highest}]"
            if isinstance(shown, int) and abs(shown) > LARGEST:  # too long to print, or beyond the floats
                shown = f"{'-' if shown < 0 else ''}2^{shown.bit_length()} or so"
            wanted = f"{'above' if open_low else 'at least'} {low:g}" + (f" and at most {high:g}" if high < float("inf") else "")
            raise ValueError(f"{attribute.alias} = {shown}: must be a finite number {wanted}")

    return check


def scheduled(default: float | Schedule, low: float = 0.0, high: float = LARGEST) -> Any:
    """An attrs field that takes a number or a schedule with values in [low, high]."""
    return attrs.field(default=as_schedule(default), converter=as_schedule, validator=within(low, high))
