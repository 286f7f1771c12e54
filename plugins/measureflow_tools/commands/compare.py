"""measureflow compare: what is faster, and in what."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
from rich.console import Console

from measureflow.api import MeasureflowError
from measureflow.cli import FOLDER
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow_tools.analysis.groups import grouped
from measureflow_tools.analysis.levels import Comparison, compare
from measureflow_tools.analysis.runs import Run, read_all
from measureflow_tools.analysis.words import table
from measureflow_tools.plotting.comparison import draw
from measureflow_tools.plotting.style import look, save


@click.command(name="compare")
@click.argument("folders", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option(
    "--metric", help="The metric to compare; it falls while a run gets better. Default: kl, or the first that all measured."
)
@click.option("--level", "levels", multiple=True, type=float, help="A level to reach. Default: some that all runs reach.")
@click.option("--out", type=FOLDER, metavar="FILE.png", help="Draw it against every clock; .png or .pdf.")
@click.option("--json", "into", type=FOLDER, help="Write curves, times and notes to this file.")
@click.pass_obj
def compare_runs(
    registry: Registry,
    folders: tuple[Path, ...],
    metric: str | None,
    levels: tuple[float, ...],
    out: Path | None,
    into: Path | None,
) -> None:
    """Compares when runs reach a level, on every clock.

    Runs that differ in the seed alone are one group. Times are known to within two rows, and to within the seeds of a group:
    a run counts as sooner than another if it is so throughout.
    """
    runs = read_all(folders, registry)
    found = compare(grouped(runs, registry), metric or _common(runs), levels)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table(found) if found.levels else f"levels of {found.metric}: {found.chosen}")
    for note in found.notes:
        click.echo(note)
    if out:
        with look():
            save(draw(found), out)
    if into:
        write(into, json.dumps(record(found, runs), indent=1).encode())


def _common(runs: Sequence[Run]) -> str:
    """kl, or the first metric that every run has; raises MeasureflowError where there is none."""
    shared = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    if not shared:
        raise MeasureflowError("these runs have no metric in common: nothing to compare")
    return "kl" if "kl" in shared else shared[0]


def record(found: Comparison, runs: list[Run]) -> Mapping[str, Any]:
    """The comparison as JSON has it, with the environment of every run."""
    plain = attrs.asdict(found, value_serializer=lambda _, __, value: value.tolist() if isinstance(value, np.ndarray) else value)
    return {**plain, "environments": {str(run.folder): run.environment for run in runs}}
