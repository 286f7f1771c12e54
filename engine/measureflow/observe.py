"""Observers: what to look at, and when."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, Literal, final

import attrs

from measureflow.errors import WriteError
from measureflow.measure import System
from measureflow.metric import Metric, View
from measureflow.reduce import Reducer
from measureflow.schedule import within
from measureflow.team import Alone, Team

Row = Mapping[str, float]
See = Callable[[System, Row], None]
Shows = Literal["clock", "whole", "parts"]


@final
@attrs.frozen
class Every:
    """A trigger: every `k` steps, and at the last one."""

    k: int = attrs.field(default=1, alias="every", validator=within(1))

    def due(self, step: int, last: int) -> bool:
        return step % self.k == 0 or step == last


@final
@attrs.frozen(eq=False)
class Stage:
    """The run that an observer watches: its name and folder, the last step, the seed, the names of the moving measures,
    whether the user asked for quiet, and the processes that run it."""

    name: str
    folder: Path
    steps: int
    seed: int
    moving: tuple[str, ...]
    quiet: bool = False
    team: Team = attrs.field(factory=Alone)


class Observer(ABC):
    """Something that sees systems go by and never changes them.

    Write one for a progress display, a file, a tracker. A subclass is a final frozen attrs class with a `kind`; its state
    lives in the context manager that `watch(stage)` returns, which opens what it needs, yields a function `see(system,
    row)` and closes again. `row` has the metrics measured at this step, as floats; it is empty where none was due.
    `steps(last)` are those at which it looks, all unless it says otherwise, thinned by the `every` of the config.

    Where several processes hold the system between them, `shows` says what an observer needs: "whole", all atoms, and only
    the first process opens it; "clock", the same without looking at atoms; "parts", every process opens it and sees its part.
    """

    family: ClassVar[str] = "observer"
    kind: ClassVar[str]
    shows: ClassVar[Shows] = "whole"

    def steps(self, last: int) -> Container[int]:
        """The steps of a run of `last` steps at which it looks."""
        return range(last + 1)

    @abstractmethod
    def watch(self, stage: Stage) -> AbstractContextManager[See]:
        """Opens the observer for one run and yields the function that sees each system."""


@final
@attrs.frozen
class Probe:
    """A metric and when it is measured."""

    metric: Metric
    every: Every


@final
@attrs.frozen
class Watch:
    """An observer and when it looks."""

    observer: Observer
    every: Every


def observed(
    systems: Iterator[System], stage: Stage, view: View, probes: Sequence[Probe], watches: Sequence[Watch]
) -> Iterator[tuple[System, Row]]:
    """The same systems, measured and shown to every watch whose turn it is, with what was measured."""
    with ExitStack() as stack:
        eyes = [_Eye(watch, watch.observer.steps(stage.steps), _opened(watch.observer, stage, stack)) for watch in watches]
        for system in systems:
            row = measured(system, view, [probe.metric for probe in probes if probe.every.due(system.step, stage.steps)])
            due = [eye for eye in eyes if eye.watch.every.due(system.step, stage.steps) and system.step in eye.steps]
            whole = gathered(system, view.reducer) if any(eye.watch.observer.shows == "whole" for eye in due) else system
            for eye in due:
                eye.see(system if eye.watch.observer.shows == "parts" else whole, row)
            yield system, row


@final
@attrs.frozen(eq=False)
class _Eye:
    """An open observer, and the steps at which it looks."""

    watch: Watch
    steps: Container[int]
    see: See


def _opened(observer: Observer, stage: Stage, stack: ExitStack) -> See:
    """The observer's eye; a closed one in a process that has nothing to look at."""
    if stage.team.leads or observer.shows == "parts":
        return stack.enter_context(_watching(observer, stage))
    return lambda system, row: None


def gathered(system: System, reducer: Reducer, names: Collection[str] | None = None) -> System:
    """The system with all atoms of the named measures, by default of all."""
    return system.replace({name: reducer.whole(mu) for name, mu in system.measures.items() if names is None or name in names})


@contextmanager
def _watching(observer: Observer, stage: Stage) -> Iterator[See]:
    """The observer, open, whose own OSErrors (a full disk, say) are WriteErrors; those of others pass through it."""
    manager = observer.watch(stage)
    with _named(observer):
        see = manager.__enter__()

    def named(system: System, row: Row) -> None:
        with _named(observer):
            see(system, row)

    try:
        yield named
    except BaseException as error:
        if not _closed(observer, manager, error):
            raise
    else:
        _closed(observer, manager, None)


def _closed(observer: Observer, manager: AbstractContextManager[See], error: BaseException | None) -> bool:
    """Closes an observer after `error`; whether that took care of it."""
    about = (None, None, None) if error is None else (type(error), error, error.__traceback__)
    try:
        with _named(observer):
            return bool(manager.__exit__(*about))
    except WriteError:
        if error is None:
            raise
        return False  # what came first is told


@contextmanager
def _named(observer: Observer) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"observer {observer.kind!r}: {error}") from None


def measured(system: System, view: View, metrics: Sequence[Metric]) -> Row:
    """The numbers of all `metrics`, as floats; this is where a run waits for the device."""
    keyed = attrs.evolve(view, noise=view.noise.at("metric", system.step))
    rows = [metric.measure(_shown(metric, system, view), keyed) for metric in metrics]
    return {name: float(value) for row in rows for name, value in row.items()}


def _shown(metric: Metric, system: System, view: View) -> System:
    """What a metric may see: parts of measures where it says that they will do, else all atoms of those that it may ask for."""
    if metric.parts:
        return system
    return gathered(system, view.reducer, {*metric.reads, *view.coupling.moves, *view.coupling.reads})
