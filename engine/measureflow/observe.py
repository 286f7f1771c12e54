"""Observers: what to look at, and when."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import ClassVar, final

import attrs

from measureflow.flow import Flow
from measureflow.measure import System
from measureflow.metric import Metric, View
from measureflow.schedule import within
from measureflow.scheme import Scheme

Row = Mapping[str, float]
See = Callable[[System, Row], None]
Looks = Callable[[int], bool]


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
    """The run that an observer watches.

    Its name and folder, the last step, the seed, the names of the moving measures, whether the user asked for quiet, the flows
    of each moving measure, the scheme, and `sure()`, which waits for the device to say whether the system now shown is sound.
    """

    name: str
    folder: Path
    steps: int
    seed: int
    moving: tuple[str, ...]
    quiet: bool = False
    flows: Mapping[str, tuple[Flow, ...]] = attrs.field(factory=dict)
    scheme: Scheme | None = None
    sure: Callable[[], bool] = lambda: True


class Observer(ABC):
    """Something that sees systems go by and never changes them.

    Write one for a progress display, a file, a tracker. A subclass is a final frozen attrs class with a `kind`; its state
    lives in the context manager that `watch(stage)` returns, which opens what it needs, yields a function `see(system,
    row)` and closes again. `row` has the metrics measured at this step, as floats; it is empty where none was due.

    Before it shows a system to somebody who `looks` at its atoms, the run waits for the device and makes sure that they are
    sound. An observer of rows and clocks says that it never looks, and may be shown a step that is then taken again; one
    that only then finds that it must look asks `stage.sure()`.
    """

    family: ClassVar[str] = "observer"
    kind: ClassVar[str]

    def looks(self, last: int) -> Looks:
        """Says of a step whether it may look at the atoms then, in a run of `last` steps; asked once."""
        return always

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
        seeing = [(watch.every, stack.enter_context(watch.observer.watch(stage))) for watch in watches]
        for system in systems:
            row = measured(system, view, [probe.metric for probe in probes if probe.every.due(system.step, stage.steps)])
            for every, see in seeing:
                if every.due(system.step, stage.steps):
                    see(system, row)
            yield system, row


def measured(system: System, view: View, metrics: Sequence[Metric]) -> Row:
    """The numbers of all `metrics`, as floats; this is where a run waits for the device."""
    keyed = attrs.evolve(view, noise=view.noise.at("metric", system.step))
    return {name: float(value) for metric in metrics for name, value in metric.measure(system, keyed).items()}
