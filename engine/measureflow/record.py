"""The run folder: starting, watching, stopping and resuming a run in it.

config.toml as given, resolved.toml with every default, environment.json,
metrics.jsonl and events.jsonl (one object a line), checkpoints/, figures/
"""

import functools
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, final

import attrs

from measureflow import config
from measureflow.checkpoint import digest, newest_checkpoint, restored, save_checkpoint
from measureflow.environment import environment
from measureflow.errors import MeasureflowError, NonFiniteError
from measureflow.experiment import Built, Experiment, build, device_of, typed
from measureflow.files import append, create, read_rows, write, write_rows
from measureflow.guard import Guard
from measureflow.measure import System
from measureflow.observe import Every, Looks, Observer, Row, See, Stage, Watch, due, never, observed
from measureflow.plugins import Registry
from measureflow.recover import EVENTS, Event, halved, halvings_in, recovering, rewound
from measureflow.simulate import Simulation, run

Note = Callable[[Event], None]


def start(e: Experiment, registry: Registry, folder: Path, given: str, quiet: bool = False, where: str = "experiment") -> System:
    """Runs an experiment, read from `where`, in a new folder and returns the last system; raises MeasureflowError."""
    built = build(e, registry, where)
    stage = stage_of(e, folder, quiet)
    create(folder)
    write(folder / "config.toml", given.encode())
    write(folder / "resolved.toml", config.dumps(config.unstructure(e)).encode())
    facts = environment(device_of(e)) | {"data": digest(built.system, stage)}
    write(folder / "environment.json", json.dumps(facts, indent=2).encode())
    return _run(e, built, built.system, stage)


def resume(folder: Path, registry: Registry, steps: int | None = None, quiet: bool = False) -> System:
    """Continues a run from its newest checkpoint, to `steps` steps in all; raises MeasureflowError."""
    e = recorded(folder, registry)
    e = e if steps is None else attrs.evolve(e, steps=steps)
    newest, built, stage = newest_checkpoint(folder), build(e, registry, str(folder)), stage_of(e, folder, quiet)
    if _data_digest(folder) != digest(built.system, stage):
        raise MeasureflowError(
            f"{folder}: the data are not those the run started with; put the file back as it was, or start a new run"
        )
    system = restored(newest, built.system, stage)
    if system.step >= e.steps:
        raise MeasureflowError(
            f"{folder}: already at step {system.step} of {e.steps}; --steps N with N > {system.step} goes on to step N"
        )
    write(folder / "resolved.toml", config.dumps(config.unstructure(e)).encode())
    kept = [row for row in read_metrics(folder) if row["step"] < system.step]  # the rest is measured again
    write_rows(folder / "metrics.jsonl", kept)
    step = halved(e.step, halvings_in(rewound(folder, system.step)))
    return _run(e, attrs.evolve(built, simulation=attrs.evolve(built.simulation, step=step)), system, stage)


def recorded(folder: Path, registry: Registry) -> Experiment:
    """The experiment of a run folder; raises MeasureflowError where it is none."""
    path = folder / "resolved.toml"
    if not path.is_file():
        raise MeasureflowError(f"{folder}: not a run folder (it has no resolved.toml)")
    return typed(config.read(path), registry, str(path))


def _data_digest(folder: Path) -> str:
    path = folder / "environment.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["data"])
    except (OSError, ValueError, TypeError, KeyError):
        raise MeasureflowError(f"{path}: missing or damaged, and it holds the fingerprint of the run's data") from None


def stage_of(e: Experiment, folder: Path, quiet: bool) -> Stage:
    """The stage of an experiment that runs in `folder`."""
    flows = {name: player.flows for name, player in e.measures.items()}
    return Stage(e.name, folder, e.steps, e.seed, tuple(e.measures), quiet, flows, e.order)


def systems_of(e: Experiment, simulation: Simulation, system: System, guard: Guard, note: Note) -> Iterator[System]:
    """Each system of an experiment up to its last step; trouble stops it or, where it says so, halves the step."""
    if e.on_trouble == "stop":
        return run(simulation, system, e.steps, guard)
    return recovering(simulation, system, e.steps, guard, note)


def noted(stage: Stage, event: Event) -> None:
    """Puts an event on the record, and says it on standard error unless the user asked for quiet."""
    append(stage.folder / EVENTS, event)
    said(stage, event)


def said(stage: Stage, event: Event) -> None:
    """Says an event on standard error unless the user asked for quiet."""
    if not stage.quiet:
        print(told(event), file=sys.stderr)


def told(event: Event) -> str:
    """An event in words."""
    if event["what"] == "halve-step":
        return (
            f"warning: {event['why']}; goes on from step {event['step']} with h = {event['h']:g}, {event['factor']:g} of what was "
            "asked: as many steps as before, and less time"
        )
    return f"warning at step {event['step']}: {event['why']}"


def _run(e: Experiment, built: Built, system: System, stage: Stage) -> System:
    """Runs to the end; leaves a checkpoint of the last good system whatever happens, unless a step overwrote it."""
    watches = [Watch(Log(), Every()), *e.observers]
    last, whole, guard = system, not e.in_place, Guard(due(e.metrics, watches, e.steps))
    stage = attrs.evolve(stage, sure=guard.sure)
    systems = systems_of(e, built.simulation, system, guard, functools.partial(noted, stage))
    try:
        with deferred_interrupt() as asked:
            for shown, _ in observed(systems, stage, built.view, e.metrics, watches):
                last = shown
                if asked() and guard.sure():  # a state that went bad is left to the guard
                    whole = True
                    raise KeyboardInterrupt
    except NonFiniteError as error:
        if error.last is None:
            raise
        path = save_checkpoint(error.last, stage)
        raise NonFiniteError(f"{error}; the last good state, of step {error.last.step}, is {path}", error.last) from None
    except BaseException:
        if whole and guard.sure():
            save_checkpoint(last, stage)
        raise
    save_checkpoint(last, stage)
    return last


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Holds Ctrl-C and SIGTERM back until the step is done and shown; a second Ctrl-C interrupts at once.

    Yields a function that says whether one has come. Python lets only the main thread listen; elsewhere nothing is held back.
    """
    came: list[int] = []

    def note(number: int, _: object) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@final
@attrs.frozen
class Log(Observer):
    """Appends every row to metrics.jsonl: `step`, `seconds` since the run's start, then the metrics."""

    kind: ClassVar[str] = "log"

    def looks(self, last: int) -> Looks:
        return never

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        rows = read_metrics(stage.folder)
        before = rows[-1]["seconds"] if rows else 0.0
        began = time.perf_counter()
        with (stage.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:

            def see(system: System, row: Row) -> None:
                if row:
                    seconds = round(before + time.perf_counter() - began, 6)
                    file.write(json.dumps({"step": system.step, "seconds": seconds, **row}) + "\n")
                    file.flush()

            yield see


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl, a torn last line left out; raises MeasureflowError where another line is damaged."""
    return read_rows(folder / "metrics.jsonl")
