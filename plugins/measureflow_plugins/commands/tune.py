"""measureflow tune: measures the planner's table anew on this machine."""

import statistics
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from measureflow.cli import FOLDER
from measureflow.environment import environment
from measureflow.files import make
from measureflow_plugins.planning.candidates import failing
from measureflow_plugins.planning.costs import Costs, Row, read, save
from measureflow_plugins.planning.measuring import measured, works
from measureflow_plugins.planning.planner import planner, tuned_path

COMPILED = ("compiled", "keops 1D", "keops 2D")  # whose first use of a formula takes seconds
WITHIN = 0.05  # seconds that a first use takes where the formula is compiled already


@click.command()
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto: a GPU where there is one.")
@click.option("--out", type=FOLDER, help="Write the table to this file. Default: where reducer = 'auto' finds it.")
@click.option(
    "--every", default=1, show_default=True, type=click.IntRange(1), help="Measure every k-th point only: coarser, sooner."
)
def tune(device: str, out: Path | None, every: int) -> None:
    """Measures what sums cost on this machine, by which reducer = "auto" then chooses; takes about five minutes."""
    there = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    rows: list[Row] = []
    firsts: dict[str, list[float]] = {}
    for name, why in failing(there).items():
        click.echo(f"{name} is left out: {why}", err=True)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for work in bar.track(works()[::every], description=f"tuning on {there}"):
            for row, first in measured(work, there):
                rows.append(row)
                firsts.setdefault(row.candidate, []).append(first - row.seconds)
    path = out or tuned_path()
    make(path.parent)
    compiling = {name: _compiling(taken) for name, taken in firsts.items() if name in COMPILED}
    facts = {name: fact for name, fact in environment(there).items() if name != "argv"}
    costs = Costs(tuple(rows), facts, compiling)
    save(costs.over(read(path)) if path.exists() else costs, path)
    planner.cache_clear()
    click.echo(f"{len(rows)} measurements of {len({row.candidate for row in rows})} ways to sum are in {path}")


def _compiling(taken: list[float]) -> float:
    """Median seconds of the first uses that took long, 0 where none did."""
    return statistics.median([seconds for seconds in taken if seconds > WITHIN] or [0.0])
