"""Goes on after trouble, with half the step, on the record."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs

from measureflow.core.measure import System
from measureflow.core.schedule import Halved, Schedule
from measureflow.dynamics.divergence import Guard, sound
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.simulate import advance, run
from measureflow.errors import NonFiniteError
from measureflow.run.events import Event
from measureflow.run.far import Far

AFAR = 1e-3  # of what `runaway` allows: by default a thousand times as far out as the start
HALVINGS = 10  # of one run: a step a thousand times too large is no accident
_AGAIN = "start again with a smaller step, or lower `runaway` to notice sooner"


def recovering(
    dynamics: Dynamics, system: System, steps: int, guard: Guard, far: Far, note: Callable[[Event], None]
) -> Iterator[System]:
    """As `run`; if a step fails, goes on from the last good system with half the step and notes it, HALVINGS times in all.

    Stops at once if not even the smallest step that is left leads on from there.
    """
    systems = run(dynamics, system, steps, guard)
    while True:
        try:
            yield from systems
            return
        except NonFiniteError as error:
            if error.last is None:
                raise
            last, away = error.last, far.words(error.last, AFAR * far.runaway)
            before = f"the state before that was already far out ({away})" if away else ""
            _check_hope(dynamics, error, before, guard)
            why = f"{error}; {before}: if it does not come back, {_AGAIN}" if before else str(error)
        dynamics = attrs.evolve(dynamics, step_size=halved(dynamics.step_size, (last.step,)))
        note(_event(why, last, dynamics.step_size))
        systems = itertools.islice(run(dynamics, last, steps, guard), 1, None)  # the last good system was shown


def _check_hope(dynamics: Dynamics, error: NonFiniteError, before: str, guard: Guard) -> None:
    """Raises NonFiniteError if no halving is left, or if even the smallest step that they lead to fails."""
    last, left = error.last, HALVINGS - len(halvings_of(dynamics.step_size))
    if left == 0:
        raise NonFiniteError(f"after {HALVINGS} halvings of the step, {error}", last) from None
    least = dynamics.step_size(last.step) * 0.5**left
    following = advance(attrs.evolve(dynamics, step_size=least), last)
    if guard.team.any(not bool(sound(following, dynamics))):
        already = f" ({before})" if before else ""
        raise NonFiniteError(f"{error}; halving does not help{already}, even h = {least:g} fails: {_AGAIN}", last) from None


def _event(why: str, last: System, step: Schedule) -> Event:
    facts = {"step": last.step, "time": last.time, "what": "halve-step"}
    return {**facts, "factor": 0.5 ** len(halvings_of(step)), "h": step(last.step), "why": why}


def halved(step: Schedule, at: tuple[int, ...]) -> Schedule:
    """The step size, halved from each step of `at` on besides the halvings that it has."""
    inner = step.of if isinstance(step, Halved) else step
    every = halvings_of(step) + at
    return Halved(inner, every) if every else inner


def halvings_of(step: Schedule) -> tuple[int, ...]:
    """The steps from which on a step size was halved, in order."""
    return step.at if isinstance(step, Halved) else ()


def halvings_in(events: Sequence[Event]) -> tuple[int, ...]:
    """The steps from which on the step was halved."""
    return tuple(int(event["step"]) for event in events if event["what"] == "halve-step")
