"""Observers: what to look at, and when."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from numbers import Real
from pathlib import Path
from typing import ClassVar, Literal, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.errors import MeasureflowError, WriteError
from measureflow.observe.metric import Metric, View
from measureflow.parallel.group import Alone, Team
from measureflow.reduction.reducer import Reducer

Row = Mapping[str, float]
See = Callable[[System, Row], None]
Looks = Callable[[int], bool]
Shows = Literal["clock", "whole", "parts"]


def always(step: int) -> bool:
    """Looks at every step."""
    return True


def never(step: int) -> bool:
    """Looks at no step."""
    return False


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
    """The run that an observer watches."""

    name: str
    """Name of the experiment."""
    folder: Path
    """The run folder, into which an observer may write."""
    steps: int
    """The last step."""
    seed: int
    """Seed of the experiment."""
    moving: tuple[str, ...]
    """Names of the measures that move."""
    quiet: bool = False
    """Whether the user asked for no output."""
    team: Team = attrs.field(factory=Alone)
    """The processes that share the run."""
    flows: Mapping[str, tuple[Flow, ...]] = attrs.field(factory=dict)
    """The flows of each moving measure."""
    scheme: Scheme | None = None
    """The order in which measures move within a step."""
    metrics: tuple[tuple[str, ...], ...] = ()
    """The names that each metric writes."""
    sure: Callable[[], bool] = lambda: True
    """Waits for the device and returns whether the system now shown is finite and within its bounds."""


class Observer(ABC):
    """Something that sees systems go by and never changes them.

    Write one for a progress display, a file, a tracker. A subclass is a final frozen attrs class with a `kind`; its state
    lives in the context manager that `watch(stage)` returns, which opens what it needs, yields a function `see(system,
    row)` and closes again. `row` has the metrics measured at this step, as floats; it is empty where none was due.
    An OSError of its own, on a full disk say, ends the run with a message. A file is best written whole or not at all, with
    `measureflow.run.atomic.replacing`: a run may be killed at any moment, and the steps since its last checkpoint are seen again.

    `shows` says what it needs: "clock" is rows and clocks, "whole" the atoms too. Before it shows a system to somebody who
    `looks` at its atoms, the run waits for the device and makes sure that they are sound; one who never looks may be shown a
    step that is then taken again, and asks `stage.sure()` if he finds that he must look after all. Where several processes hold
    the system between them, the first alone opens an observer; to one that looks at a step, "whole" shows all atoms. With "parts"
    every process opens it and sees the part that is held there.
    """

    family: ClassVar[str] = "observer"
    kind: ClassVar[str]
    shows: ClassVar[Shows] = "whole"
    """What it is shown: "clock" is rows and clocks, "whole" all atoms too, "parts" the atoms that each process holds."""

    def looks(self, last: int) -> Looks:
        """Says of a step whether it may look at the atoms then, in a run of `last` steps; asked once."""
        return never if self.shows == "clock" else always

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


def due(probes: Sequence[Probe], watches: Sequence[Watch], last: int) -> Looks:
    """Says of a step whether a metric is measured then, or an observer looks at the atoms."""
    asked = [(probe.every, always) for probe in probes] + [(watch.every, watch.observer.looks(last)) for watch in watches]
    return lambda step: any(every.due(step, last) and looks(step) for every, looks in asked if looks is not never)


def observed(
    systems: Iterator[System], stage: Stage, view: View, probes: Sequence[Probe], watches: Sequence[Watch]
) -> Iterator[tuple[System, Row]]:
    """The same systems, measured and shown to every watch whose turn it is, with what was measured."""
    with ExitStack() as stack:
        eyes = [_Eye(watch, watch.observer.looks(stage.steps), _opened(watch.observer, stage, stack)) for watch in watches]
        for system in systems:
            row = measured(system, view, [probe.metric for probe in probes if probe.every.due(system.step, stage.steps)])
            due = [eye for eye in eyes if eye.watch.every.due(system.step, stage.steps)]
            whole = gathered(system, view.reducer) if any(eye.wants_all(system.step) for eye in due) else system
            for eye in due:
                eye.see(system if eye.watch.observer.shows == "parts" else whole, row)
            del whole  # all atoms, where several processes hold parts
            yield system, row


@final
@attrs.frozen(eq=False)
class _Eye:
    """An open observer, and the steps at which it looks."""

    watch: Watch
    looks: Looks
    see: See

    def wants_all(self, step: int) -> bool:
        """Whether it looks at all atoms at this step."""
        return self.watch.observer.shows == "whole" and self.looks(step)


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
        with suppress(WriteError), _named(observer):  # what came first is told
            manager.__exit__(type(error), error, error.__traceback__)
        raise  # whatever an observer makes of it, the run failed
    with _named(observer):
        manager.__exit__(None, None, None)


@contextmanager
def _named(observer: Observer) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"observer {observer.kind!r}: {error}") from None


def measured(system: System, view: View, metrics: Sequence[Metric]) -> Row:
    """The numbers of all `metrics`, as floats; this is where a run waits for the device."""
    keyed = attrs.evolve(view, noise=view.noise.at("metric", system.step))
    rows = [_numbers(metric, metric.measure(_shown(metric, system, view), keyed)) for metric in metrics]
    return {name: value for row in rows for name, value in row.items()}


def _numbers(metric: Metric, given: object) -> Row:
    """What a metric gave, as floats; raises MeasureflowError that names it if that is anything but its numbers by name."""
    if not isinstance(given, Mapping):
        raise MeasureflowError(f"metric {metric.kind!r}: gave {given!r:.60}; it must give numbers by name")
    for name, value in given.items():
        if name not in metric.names:
            raise MeasureflowError(f"metric {metric.kind!r}: gave {name!r}, which is not among its `names`")
        if not isinstance(value, Tensor | Real) or (isinstance(value, Tensor) and value.numel() != 1):
            what = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r:.60}"
            raise MeasureflowError(f"metric {metric.kind!r}: {name} {what}; it must be one number")
    return {name: float(value) for name, value in given.items()}


def _shown(metric: Metric, system: System, view: View) -> System:
    """What a metric may see: parts of measures where it says that they will do, else all atoms of those that it may ask for."""
    if metric.parts:
        return system
    return gathered(system, view.reducer, {*metric.reads, *view.coupling.moves, *view.coupling.reads})
