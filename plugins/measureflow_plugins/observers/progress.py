"""A progress bar."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar, final

import attrs
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.observe.observer import Observer, Row, See, Shows, Stage


@final
@attrs.frozen
class Bar(Observer):
    """A bar on standard error with steps, time left and the last metrics; silent under --quiet.

    A notebook shows the bar with ipywidgets (pip install "measureflow[notebook]"). Elsewhere, a line at most every `seconds`.
    """

    kind: ClassVar[str] = "progress"
    shows: ClassVar[Shows] = "clock"
    seconds: float = attrs.field(default=10.0, validator=within(0.0))

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        console = Console(stderr=True)
        if stage.quiet:
            yield lambda system, row: None
        elif not _can_redraw(console):
            yield self._lines(stage, console)
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[last]}"),
            )
            with Progress(*columns, console=console, refresh_per_second=5) as bar:
                task = bar.add_task(stage.name, total=stage.steps, last="")

                def see(system: System, row: Row) -> None:
                    shown = {"last": _brief(row)} if row else {}
                    bar.update(task, completed=system.step, **shown)

                yield see
                if console.is_jupyter:
                    bar.refresh()  # rich leaves the last one out there

    def _lines(self, stage: Stage, console: Console) -> See:
        times = [-float("inf")]

        def see(system: System, row: Row) -> None:
            now = time.monotonic()
            if row and (now - times[0] >= self.seconds or system.step == stage.steps):
                times[0] = now
                console.print(f"{stage.name} {system.step}/{stage.steps} {_brief(row)}", highlight=False, soft_wrap=True)

        return see


def _can_redraw(console: Console) -> bool:
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _brief(row: Row) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())
