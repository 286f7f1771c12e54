"""What an observer promises, in a run folder of its own."""

import contextlib
import gc
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from measureflow.core.measure import System
from measureflow.observe.observer import Observer, Row, See, Stage
from measureflow.opening import read_bytes
from measureflow.run.metrics_log import METRICS, Log
from measureflow.testing.problems.systems import copied, twin
from measureflow.testing.promise import Found, Promise, holds, promise, same
from measureflow.testing.trial import Trial

ROWS: tuple[Row, ...] = ({"kl": 0.5, "tv": 2.0}, {}, {"kl": 0.25, "tv": 1.5})  # a row is empty where no metric was due

SHOWN, HELD = 6, 2  # systems; an observer may want the first and the last


@contextlib.contextmanager
def _stage(trial: Trial) -> Iterator[Stage]:
    """A run of two steps in a new folder, beside which there is only an empty one, where the program is then at work."""
    built, _ = trial.here()  # whose paths are taken from where the program is now
    with tempfile.TemporaryDirectory() as parent:
        folder, here = Path(parent).resolve() / "run", Path(parent).resolve() / "here"
        folder.mkdir()
        here.mkdir()
        with contextlib.chdir(here):
            yield Stage("trial", folder, 2, 0, tuple(built.dynamics.flows), quiet=True)


def _systems(trial: Trial) -> list[System]:
    _, system = trial.here()
    return [System(system.measures, step, 0.01 * step) for step in range(3)]


def _watched(observer: Observer, stage: Stage, systems: list[System], first: int = 0, last: int = len(ROWS)) -> None:
    """Shows the systems from number `first` to before `last` to the observer, with the log of metrics that every run has."""
    with Log().watch(stage) as log, observer.watch(stage) as see:
        for system, row in list(zip(systems, ROWS, strict=True))[first:last]:
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


@promise("drop what a run before wrote of the step it resumes from and of later ones, or write files whole")
def resumed_leaves_the_same(observer: Observer, trial: Trial) -> Found:
    """Files that are the same after each whole run are the same after one that was resumed."""
    whole, again, after = (_left(observer, trial, *parts) for parts in (((0, 3),), ((0, 3),), ((0, 2), (1, 3))))
    settled = {name for name, content in whole.items() if again.get(name) == content}  # others hold a time, say
    differ = sorted(name for name in settled if after.get(name) != whole[name])
    yield holds(f"other after a resume: {', '.join(differ)}", not differ)
    yield f"{len(settled)} files" if settled else "leaves no file that is the same after each run"


def _left(observer: Observer, trial: Trial, *parts: tuple[int, int]) -> dict[str, bytes]:
    """What the observer leaves behind after it watched the systems of each part, one after another."""
    systems = _systems(trial)
    with _stage(trial) as stage:
        for part in parts:
            _watched(observer, stage, systems, *part)
        return {name: content for name, (_, content) in _files(stage.folder).items()}


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The inode and the content of each file but the log of metrics."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != METRICS]
    return {str(path.relative_to(folder)): (path.stat().st_ino, read_bytes(path)) for path in files}


@promise("write by measureflow.run.atomic.replacing, or only append: a run may be killed while a file is half written")
def whole_files(observer: Observer, trial: Trial) -> Found:
    """A file that changes is replaced as a whole, or grows at its end."""
    systems = _systems(trial)
    torn: set[str] = set()
    with _stage(trial) as stage, Log().watch(stage) as log, observer.watch(stage) as see:
        before = _files(stage.folder)
        for system, row in zip(systems, ROWS, strict=True):
            _shown(log, see, system, row)
            now = _files(stage.folder)
            torn |= {name for name in before.keys() & now.keys() if _overwritten(before[name], now[name])}
            before = now
    yield holds(f"overwritten in place: {', '.join(sorted(torn))}", not torn)


def _overwritten(before: tuple[int, bytes], now: tuple[int, bytes]) -> bool:
    return before[0] == now[0] and not now[1].startswith(before[1])


@promise("keep numbers, not systems: a long run would fill the memory")
def systems_are_let_go(observer: Observer, trial: Trial) -> Found:
    """Of the systems that it saw, it holds on to two at most."""
    shown = []
    with _stage(trial) as stage, observer.watch(stage) as see:
        for step in range(SHOWN):
            system = twin(System(trial.here()[1].measures, step, 0.01 * step))
            shown.append(weakref.ref(next(iter(system.measures.values())).points))
            see(system, {})
            del system
        gc.collect()
        held = sum(ref() is not None for ref in shown)
    yield holds(f"{held} of the {SHOWN} systems that it saw are still held", held <= HELD)


PROMISES: tuple[Promise, ...] = (
    opens_and_closes,
    pure,
    own_folder,
    resumed,
    lets_errors_through,
    resumed_leaves_the_same,
    whole_files,
    systems_are_let_go,
)
