"""The run folder: starting, watching, stopping and resuming a run in it.

config.toml as given, resolved.toml with every default, environment.json,
metrics.jsonl (one object a line), checkpoints/, figures/
"""

import json
import signal
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
from measureflow.files import create, write
from measureflow.measure import System
from measureflow.observe import Every, Observer, Row, See, Stage, Watch, observed
from measureflow.plugins import Registry
from measureflow.rows import read_rows
from measureflow.simulate import run


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
    write(folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept).encode())
    return _run(e, built, system, stage)


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
    return Stage(e.name, folder, e.steps, e.seed, tuple(e.measures), quiet)


def _run(e: Experiment, built: Built, system: System, stage: Stage) -> System:
    """Runs to the end; leaves a checkpoint of the last good system whatever happens, unless a step overwrote it."""
    watches = [Watch(Log(), Every()), *e.observers]
    last, good = system, not e.in_place
    try:
        with deferred_interrupt() as asked:
            for shown, _ in observed(run(built.simulation, system, e.steps), stage, built.view, e.metrics, watches):
                last = shown
                if asked():
                    good = True
                    raise KeyboardInterrupt
    except NonFiniteError as error:
        if not good:
            raise
        path = save_checkpoint(last, stage)
        raise NonFiniteError(f"{error}; the last good state, of step {last.step}, is {path}") from None
    except BaseException:
        if good:
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
