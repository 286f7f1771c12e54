"""Observers: what to look at, and when."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar, final

import attrs

from measureflow.errors import WriteError
from measureflow.measure import System
from measureflow.metric import Metric, View
from measureflow.schedule import within

Row = Mapping[str, float]
See = Callable[[System, Row], None]


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
    and whether the user asked for quiet."""

    name: str
    folder: Path
    steps: int
    seed: int
    moving: tuple[str, ...]
    quiet: bool = False


class Observer(ABC):
    """Something that sees systems go by and never changes them.

    Write one for a progress display, a file, a tracker. A subclass is a final frozen attrs class with a `kind`; its state
    lives in the context manager that `watch(stage)` returns, which opens what it needs, yields a function `see(system,
    row)` and closes again. `row` has the metrics measured at this step, as floats; it is empty where none was due.
    An OSError of its own, on a full disk say, ends the run with a message. A file is best written whole or not at all, with
    `measureflow.files.replacing`: a run may be killed at any moment, and the steps since its last checkpoint are seen again.
    """

    family: ClassVar[str] = "observer"
    kind: ClassVar[str]

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
        seeing = [(watch.every, stack.enter_context(_watching(watch.observer, stage))) for watch in watches]
        for system in systems:
            row = measured(system, view, [probe.metric for probe in probes if probe.every.due(system.step, stage.steps)])
            for every, see in seeing:
                if every.due(system.step, stage.steps):
                    see(system, row)
            yield system, row


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
    return {name: float(value) for metric in metrics for name, value in metric.measure(system, keyed).items()}
