"""Goes on after trouble, with half the step, on the record."""

import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs

from measureflow.errors import NonFiniteError
from measureflow.events import Event
from measureflow.guard import Guard, reach
from measureflow.measure import System
from measureflow.schedule import Halved, Schedule
from measureflow.simulate import Simulation, run

FAR = 1e-3  # of what `runaway` allows: by default a thousand times as far out as the start
HALVINGS = 10  # of one run: a step a thousand times too large is no accident


def recovering(simulation: Simulation, system: System, steps: int, guard: Guard, note: Callable[[Event], None]) -> Iterator[System]:
    """As `run`; where a step fails, goes on from the last good system with half the step and notes it, HALVINGS times in all."""
    systems = run(simulation, system, steps, guard)
    while True:
        try:
            yield from systems
            return
        except NonFiniteError as error:
            if error.last is None:
                raise
            if len(halvings_of(simulation.step)) >= HALVINGS:
                raise NonFiniteError(f"after {HALVINGS} halvings of the step, {error}", error.last) from None
            why, last = f"{error}{_afar(error.last, simulation, guard)}", error.last
        simulation = attrs.evolve(simulation, step=halved(simulation.step, (last.step,)))
        note(_event(why, last, simulation.step))
        systems = itertools.islice(run(simulation, last, steps, guard), 1, None)  # the last good system was shown


def _afar(last: System, simulation: Simulation, guard: Guard) -> str:
    """Words about a last good state that is itself so far out that a smaller step may not bring it back."""
    bounds = simulation.game.bounds
    names = [name for name, bound in bounds.items() if guard.team.any(reach(last[name]) > FAR * bound)]
    if not names:
        return ""
    return (
        f"; {', '.join(names)} was far out before that, over {FAR:g} of what `runaway` allows: if it does not come back, start "
        "again with a smaller step, or lower `runaway` to notice sooner"
    )


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
