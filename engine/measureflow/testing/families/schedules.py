"""What a schedule promises over a sweep of steps."""

import math

from measureflow.core.schedule import Schedule
from measureflow.testing.promise import Found, Promise, holds, promise
from measureflow.testing.trial import Trial

SWEEP = (*range(300), *range(300, 5000, 7), *(10**k for k in range(4, 10)))


@promise("compute the value from the step and the fields alone")
def pure(schedule: Schedule, trial: Trial) -> Found:
    """The value depends on the step alone: asked for in another order, it is the same."""
    forth = {step: schedule(step) for step in SWEEP}
    changed = [step for step in reversed(SWEEP) if schedule(step) != forth[step]]
    yield holds(f"steps whose value changed: {changed[:3]}", not changed)


@promise("return a float")
def finite_numbers(schedule: Schedule, trial: Trial) -> Found:
    """Every value is a finite float."""
    for step in SWEEP:
        value = schedule(step)
        if not (isinstance(value, float) and math.isfinite(value)):
            yield holds(f"at step {step} it is {value!r}", False)


@promise("range is the lowest and the highest value over all steps; clamp where rounding may leave it")
def range_is_true(schedule: Schedule, trial: Trial) -> Found:
    """No value leaves the range it states."""
    low, high = schedule.range
    values = [schedule(step) for step in SWEEP]
    yield holds(
        f"values from {min(values)} to {max(values)} where the range is ({low}, {high})", low <= min(values) and max(values) <= high
    )


PROMISES: tuple[Promise, ...] = (pure, finite_numbers, range_is_true)
