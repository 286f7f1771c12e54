"""The folder of a sweep, its progress and its table."""

import math
import statistics
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
from measureflow.opening import read_text
from measureflow.parallel.torchrun import several
from measureflow.run.atomic import arranging, write
from measureflow_tools.sweeps.cost import spoken
from measureflow_tools.sweeps.members import Outcome
from measureflow_tools.sweeps.naming import ends


def claim(folder: Path, file: str, given: str) -> None:
    """Makes the folder, with `given` as its `file`, or takes one that has just that; raises MeasureflowError for any other."""
    if several():
        raise MeasureflowError("torchrun: this command starts runs of its own, each in one process; start it without torchrun")
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
def showing(title: str, total: int, jobs: int = 1, least: str = "") -> Iterator[Callable[[Outcome], None]]:
    """A bar on standard error that counts outcomes, and for each a line with what is left and the best so far, by `least`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    seen: list[Outcome] = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)

        def see(outcome: Outcome) -> None:
            seen.append(outcome)
            said = f"{outcome.name}: {outcome.status} {outcome.error or brief(outcome)} ({standing(seen, total, jobs, least)})"
            bar.console.print(said, highlight=False, markup=False, soft_wrap=True)
            bar.advance(task)

        yield see


def standing(seen: Sequence[Outcome], total: int, jobs: int, least: str = "") -> str:
    """`11 of 20, least kl .0012 by trial-0007, about 3.5 minutes left`, as long as the runs so far."""
    told = [f"{len(seen)} of {total}"]
    found = min((each for each in seen if least in each.metrics), key=lambda each: each.metrics[least], default=None)
    if found is not None:
        told.append(f"least {least} {found.metrics[least]:.4g} by {found.name}")
    done = [each.seconds for each in seen if each.status == "done"]
    if done and len(seen) < total:
        told.append(f"about {spoken(statistics.fmean(done) * (total - len(seen)) / jobs)} left")
    return ", ".join(told)


def brief(outcome: Outcome) -> str:
    """The last metrics in one line."""
    return "  ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items())


def table(outcomes: Sequence[Outcome], title: str) -> Table:
    """A row for each outcome: its settings, how it ended, and the last metrics; after several seeds, their mean +- deviation."""
    paths = list(dict.fromkeys(path for each in outcomes for path in each.settings))
    metrics = list(dict.fromkeys(name for each in outcomes for name in each.metrics))
    shown = Table(*ends(paths).values(), "status", "s", *metrics, title=title)
    for group in _settings(outcomes):
        for each in group:
            settings = [_cell(each.settings.get(path, "")) for path in paths]
            numbers = [f"{each.metrics[name]:.4g}" if name in each.metrics else "" for name in metrics]
            shown.add_row(*settings, each.status, f"{each.seconds:.1f}", *numbers)
        done = [each for each in group if each.status == "done"]
        if len(done) > 1:
            settings = ["mean +- sd" if path == "seed" else _cell(done[0].settings[path]) for path in paths]
            numbers = [_mean([each.metrics[name] for each in done if name in each.metrics]) for name in metrics]
            shown.add_row(*settings, f"{len(done)} done", "", *numbers, style="bold", end_section=True)
    return shown


def _settings(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes that differ in the seed alone, together; one that has no seed among its settings is alone."""
    groups: list[list[Outcome]] = []
    for each in outcomes:
        same = (group for group in groups if "seed" in each.settings and _bare(group[0]) == _bare(each))
        group = next(same, None)
        groups.append([each]) if group is None else group.append(each)
    return groups


def _bare(outcome: Outcome) -> dict[str, Any]:
    return {path: value for path, value in outcome.settings.items() if path != "seed"}


def _mean(values: Sequence[float]) -> str:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return ""
    return f"{statistics.fmean(values):.4g} +- {statistics.stdev(values):.2g}"


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value))


def stopped(folder: Path) -> NoReturn:
    """Says after Ctrl-C how to go on, and ends."""
    click.echo(f"stopped; the same command with --out {folder} goes on", err=True)
    sys.exit(130)
