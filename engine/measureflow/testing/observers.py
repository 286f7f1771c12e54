"""What an observer promises, in a run folder of its own."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measureflow.log import Log
from measureflow.measure import System
from measureflow.observe import Observer, Row, See, Stage
from measureflow.testing.promise import Found, Promise, holds, promise, same
from measureflow.testing.systems import copied
from measureflow.testing.trial import Trial

ROWS: tuple[Row, ...] = ({"kl": 0.5, "tv": 2.0}, {}, {"kl": 0.25, "tv": 1.5})  # a row is empty where no metric was due


@contextlib.contextmanager
def _stage(trial: Trial) -> Iterator[Stage]:
    """A run of two steps in a new folder, beside which there is only an empty one, where the program is then at work."""
    built, _ = trial.here()  # whose paths are taken from where the program is now
    with tempfile.TemporaryDirectory() as parent:
        folder, here = Path(parent).resolve() / "run", Path(parent).resolve() / "here"
        folder.mkdir()
        here.mkdir()
        with contextlib.chdir(here):
            yield Stage("trial", folder, 2, 0, tuple(built.simulation.game.players), quiet=True)


def _systems(trial: Trial) -> list[System]:
    _, system = trial.here()
    return [System(system.measures, step, 0.01 * step) for step in range(3)]


def _watched(observer: Observer, stage: Stage, systems: list[System], first: int = 0) -> None:
    """Shows the systems from number `first` on to the observer, with the log of metrics that every run has."""
    with Log().watch(stage) as log, observer.watch(stage) as see:
        for system, row in list(zip(systems, ROWS, strict=True))[first:]:
            _shown(log, see, system, row)


def _shown(log: See, see: See, system: System, row: Row) -> None:
    log(system, row)
    see(system, row)


@promise("open in `watch`, close in its `finally`; a row may be empty, and a run may have no step")
def opens_and_closes(observer: Observer, trial: Trial) -> Found:
    """It sees systems with and without metrics, and closes after them, also where it saw none."""
    with _stage(trial) as stage:
        _watched(observer, stage, _systems(trial))
    with _stage(trial) as stage:
        _watched(observer, stage, _systems(trial), len(ROWS))
    yield holds("", True)


@promise("look and never touch: clone what you change")
def pure(observer: Observer, trial: Trial) -> Found:
    """Systems are the same bit for bit after they were seen."""
    systems = _systems(trial)
    before = copied(systems[0])
    with _stage(trial) as stage:
        _watched(observer, stage, systems)
    yield same("seeing changed", before, copied(systems[0]))


@promise("write below stage.folder only")
def own_folder(observer: Observer, trial: Trial) -> Found:
    """It writes nothing beside the run folder, nor where the program was started."""
    with _stage(trial) as stage:
        _watched(observer, stage, _systems(trial))
        here = Path.cwd()
        beside = sorted(path.name for path in stage.folder.parent.iterdir() if path not in (stage.folder, here))
        written = sorted(path.name for path in here.iterdir())
    yield holds(f"written beside the run folder: {', '.join(beside)}", not beside)
    yield holds(f"written where the program was started: {', '.join(written)}", not written)


@promise("open files so that they may exist already: a resumed run shows again the step it resumes from")
def resumed(observer: Observer, trial: Trial) -> Found:
    """It can watch a folder it has watched before, from a step in the middle."""
    with _stage(trial) as stage:
        _watched(observer, stage, _systems(trial))
        _watched(observer, stage, _systems(trial), 1)
    yield holds("", True)


@promise("let exceptions through: put what must happen into `finally`, and do not catch what is not yours")
def lets_errors_through(observer: Observer, trial: Trial) -> Found:
    """An error or a Ctrl-C in the run comes out as it went in."""
    for error in (RuntimeError, KeyboardInterrupt):
        caught: list[type[BaseException]] = []
        with _stage(trial) as stage:
            try:
                with observer.watch(stage) as see:
                    see(_systems(trial)[0], ROWS[0])
                    raise error("on purpose")
            except error:
                caught.append(error)
        yield holds(f"{error.__name__} did not come out", bool(caught))


PROMISES: tuple[Promise, ...] = (opens_and_closes, pure, own_folder, resumed, lets_errors_through)
