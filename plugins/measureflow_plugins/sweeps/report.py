"""The folder of a sweep, its progress and its table."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from measureflow.api import MeasureflowError
from measureflow.files import arranging, write
from measureflow.opening import read_text
from measureflow_plugins.sweeps.members import Outcome
from measureflow_plugins.sweeps.naming import ends


def claim(folder: Path, file: str, given: str) -> None:
    """Makes the folder, with `given` as its `file`, or takes one that has just that; raises MeasureflowError for any other."""
    path = folder / file
    if path.is_file():
        if read_text(path) != given:
            raise MeasureflowError(f"{folder}: holds other runs: its {file} is not what was asked; give --out another folder")
    elif not folder.exists():
        with arranging(folder) as new:
            write(new / file, given.encode())
    else:
        raise MeasureflowError(f"{folder}: exists already and has no {file}; give --out another folder")


@contextmanager
def showing(title: str, total: int) -> Iterator[Callable[[Outcome], None]]:
    """A bar on standard error that counts outcomes, and a line for each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def see(outcome: Outcome) -> None:
            said = f"{outcome.name}: {outcome.status} {outcome.error or brief(outcome)}"
            bar.console.print(said, highlight=False, markup=False, soft_wrap=True)
            bar.advance(task)

        yield see


def brief(outcome: Outcome) -> str:
    """The last metrics in one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items())


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """A row for each outcome: its settings, how it ended, and the last metrics."""
    paths = list(dict.fromkeys(path for each in outcomes for path in each.settings))
    metrics = list(dict.fromkeys(name for each in outcomes for name in each.metrics))
    shown = Table(*ends(paths).values(), "status", "s", *metrics, title=title)
    for each in outcomes:
        settings = [_cell(each.settings.get(path, "")) for path in paths]
        numbers = [f"{each.metrics[name]:.4g}" if name in each.metrics else "" for name in metrics]
        shown.add_row(*settings, each.status, f"{each.seconds:.1f}", *numbers)
    return shown


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))


def stopped(folder: Path) -> NoReturn:
    """Says after Ctrl-C how to go on, and ends."""
    click.echo(f"stopped; the same command with --out {folder} goes on", err=True)
    sys.exit(130)
