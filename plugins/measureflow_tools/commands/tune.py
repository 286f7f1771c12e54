"""measureflow tune: measures the planner's table on this machine."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import torch
from rich.console import Console
from rich.progress import Progress

from measureflow.cli import FOLDER
from measureflow.config.memory import device_named
from measureflow.opening import check_own
from measureflow.run.atomic import make, writing
from measureflow.run.environment import environment
from measureflow.run.interrupt import deferred_interrupt
from measureflow_plugins.reducers.autotune.candidates import failing
from measureflow_plugins.reducers.autotune.costs import Costs, Row, read, save
from measureflow_plugins.reducers.autotune.measuring import Work, by_kind, measured, works
from measureflow_plugins.reducers.autotune.planner import planner, tuned_path

COMPILED = ("compiled", "keops 1D", "keops 2D")  # whose first use of a formula takes seconds
WITHIN = 0.05  # seconds that a first use takes where the formula is compiled already


@click.command()
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto: a GPU if there is one.")
@click.option("--out", type=FOLDER, help="Write the table to this file. Default: where reducer = 'auto' finds it.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="Measure sums in this precision only. Default: both.")
@click.option(
    "--every", default=1, show_default=True, type=click.IntRange(1), help="Measure every k-th point only: coarser, sooner."
)
@click.option(
    "--minutes", type=click.FloatRange(0, min_open=True), help="Begin no other kind of sums after this time. Default: no limit."
)
def tune(device: str, out: Path | None, dtype: str | None, every: int, minutes: float | None) -> None:
    """Measures what sums cost on this machine.

    By its table reducer = "auto" then chooses. It takes about five minutes, those sums first that are asked for most. After
    --minutes or Ctrl-C what was measured is written, and the table keeps what it had of other kinds of sums.
    """
    there = device_named(device)
    path = out or tuned_path()
    with writing(path):  # rather now than after minutes
        check_own(path)
    kinds = by_kind(works(dtype)[::every])
    click.echo(f"tuning {len(kinds)} kinds of sums on {there}: {', '.join(kinds)}", err=True)
    for name, why in failing(there).items():
        click.echo(f"{name} is left out: {why}", err=True)
    costs = _measured(kinds, there, math.inf if minutes is None else 60 * minutes)
    make(path.parent)
    save(costs.over(read(path)) if path.exists() else costs, path)
    planner.cache_clear()
    click.echo(f"{len(costs.rows)} measurements of {len({row.candidate for row in costs.rows})} ways to sum are in {path}")


def _measured(kinds: Mapping[str, Sequence[Work]], there: torch.device, limit: float) -> Costs:
    """The costs of every kind of sums that was measured whole before the limit, in seconds, or before Ctrl-C."""
    rows: list[Row] = []
    firsts: dict[str, list[float]] = {}
    began = time.monotonic()
    with deferred_interrupt() as asked, Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"tuning on {there}", total=sum(map(len, kinds.values())))
        for number, (kind, several) in enumerate(kinds.items()):
            if asked() or (number and time.monotonic() - began > limit):
                bar.console.print(f"stopped; not measured: {', '.join(list(kinds)[number:])}", markup=False, soft_wrap=True)
                break
            for work in several:
                for row, first in measured(work, there):
                    rows.append(row)
                    firsts.setdefault(row.candidate, []).append(first - row.seconds)
                bar.advance(task)
            bar.console.print(f"{kind}: {time.monotonic() - began:.0f} s", highlight=False, markup=False, soft_wrap=True)
    compiling = {name: _compiling(taken) for name, taken in firsts.items() if name in COMPILED}
    facts = {name: fact for name, fact in environment(there).items() if name != "argv"}
    return Costs(tuple(rows), facts, compiling)


def _compiling(taken: list[float]) -> float:
    """Median seconds of the first uses that took long, 0 where none did."""
    return statistics.median([seconds for seconds in taken if seconds > WITHIN] or [0.0])
