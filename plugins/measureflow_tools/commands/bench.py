"""measureflow bench: what a step of one's own experiment costs on one's own machine."""

import functools
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from measureflow.api import Dynamics, MeasureflowError, System, advance, build, load
from measureflow.cli import FOLDER, SETTINGS
from measureflow.config.build import reducer_of
from measureflow.config.memory import WORKING_COPIES, device_of, free_on
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow.run.environment import environment
from measureflow_plugins.observers._drawable import literal
from measureflow_plugins.reducers.autotune.clock import alternating, timed
from measureflow_tools.analysis.timing import exponent, pairs, resized, through
from measureflow_tools.plotting.style import look

Row = dict[str, float | int | str]
Firsts = dict[str, tuple[Dynamics, float]]  # by kind of reducer: what takes steps, and seconds of its first
FIGURES = ("reducer", "ms", "fastest_ms", "first_ms", "pairs", "pairs_per_second", "ratio")


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--particles", metavar="N,N,...", help="Sizes of the measure nu, as in 1e4,1e5. Default: as configured.")
@click.option("--neurons", metavar="M,M,...", help="Sizes of the measure gamma. Default: as configured.")
@click.option("--size", "others", multiple=True, metavar="NAME=N,N,...", help="Sizes of any other measure, the data included.")
@click.option("--reducers", default="auto", show_default=True, metavar="KIND,...", help="Reducers to compare, as in chunked,keops.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Steps timed of each, after one that is not.")
@click.option("--json", "into", type=FOLDER, help="Write rows and environment to this file.")
@click.option("--plot", type=FOLDER, help="Draw milliseconds against the first size, log-log.")
@click.pass_obj
def bench(
    registry: Registry, file: Path, settings: tuple[str, ...], particles: str | None, neurons: str | None,
    others: tuple[str, ...], reducers: str, rounds: int, into: Path | None, plot: Path | None,
) -> None:  # fmt: skip
    """Times one step at several sizes and with several reducers.

    Each combination takes a step of the experiment in FILE in turn, so that a machine whose speed drifts treats all alike.
    """
    sizes = _sizes({"nu": particles, "gamma": neurons}, others)
    experiments = {kind: load(file, registry, (*settings, f"reducer={kind}")) for kind in reducers.split(",")}
    experiment = next(iter(experiments.values()))
    built = build(experiment, registry, str(file))
    evaluated = {kind: reducer_of(e, registry) for kind, e in experiments.items()}
    variants = {kind: through(reducer, built.dynamics) for kind, reducer in evaluated.items()}
    grid = [dict(zip(sizes, chosen, strict=True)) for chosen in itertools.product(*sizes.values())]
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for chosen in bar.track(grid, description=experiment.name):
            _affordable(built.system, chosen)
            system = resized(built.system, chosen)
            there, failed = _working(variants, system)
            for kind, why in failed.items():
                click.echo(f"{kind}: {why}", err=True)
            if not there:
                raise MeasureflowError(f"bench: none of {reducers} can take this step; see the reasons above")
            rows += _measured(there, system, chosen, rounds)
    first = next(name for name in rows[0] if name not in FIGURES)
    Console().print(_table(rows, first))
    if into:
        write(into, json.dumps({"environment": environment(device_of(experiment)), "rows": rows}, indent=1).encode())
    if plot:
        with look():
            _draw(rows, first, experiment.name, plot)


def _affordable(system: System, sizes: Mapping[str, int]) -> None:
    """Raises MeasureflowError if measures of these sizes need more memory than is free."""
    for name, size in sizes.items():
        if name not in system:
            continue  # `resized` says so
        points = system[name].points
        need, free = WORKING_COPIES * size * (points.shape[1] + 1) * points.element_size(), free_on(points.device)
        if need > free:
            raise MeasureflowError(
                f"size of {name}: {size:,} atoms need about {need / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free; lower it"
            )


def _sizes(named: Mapping[str, str | None], others: Sequence[str]) -> dict[str, list[int]]:
    """Sizes to try, by measure; raises MeasureflowError for what is no list of counts."""
    given = {name: text for name, text in named.items() if text} | dict(_pair(other) for other in others)
    return {name: [_count(name, part) for part in text.split(",")] for name, text in given.items()}


def _pair(text: str) -> tuple[str, str]:
    name, equals, sizes = text.partition("=")
    if not equals:
        raise MeasureflowError(f"--size {text!r}: write NAME=N,N,..., as in data=1e4")
    return name, sizes


def _count(name: str, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = 0.5
    if not value.is_integer() or not 1 <= value <= 1e12:
        raise MeasureflowError(f"size of {name}: {text!r} is no count; write whole numbers from 1, as in 1000 or 1e4")
    return int(value)


def _working(variants: Mapping[str, Dynamics], system: System) -> tuple[Firsts, dict[str, str]]:
    """Each of them that can take a step, with the seconds of its first, which may compile; and why the others cannot."""
    device = next(iter(system.measures.values())).points.device
    there: Firsts = {}
    failed: dict[str, str] = {}
    for kind, dynamics in variants.items():
        try:
            there[kind] = dynamics, timed(functools.partial(advance, dynamics, system), device)
        except MeasureflowError as error:
            failed[kind] = str(error)
    return there, failed


def _measured(there: Firsts, system: System, sizes: Mapping[str, int], rounds: int) -> list[Row]:
    """A row for each reducer; its first step, which may compile, counts for `first_ms` alone."""
    variants, firsts = [dynamics for dynamics, _ in there.values()], [first for _, first in there.values()]
    one = variants[0]
    atoms = {name: system[name].size for name in (*sizes, *one.flows)}
    works = [functools.partial(advance, dynamics, system) for dynamics in variants]
    times = alternating(works, rounds, next(iter(system.measures.values())).points.device)
    medians, count = [statistics.median(taken) for taken in times], pairs(one, system)
    rows: list[Row] = []
    for kind, first, taken, median in zip(there, firsts, times, medians, strict=True):
        ms = {"ms": 1e3 * median, "fastest_ms": 1e3 * min(taken), "first_ms": 1e3 * first}
        share = {"pairs": count, "pairs_per_second": count / median, "ratio": median / min(medians)}
        rows.append({**atoms, "reducer": kind, **ms, **share})
    return rows


def _table(rows: Sequence[Row], first: str) -> Table:
    names = [name for name in rows[0] if name not in FIGURES]
    table = Table(*names, "reducer", "ms", "first ms", "pairs/s", "ratio", title="one step")
    for row in rows:
        sizes = [f"{row[name]:,}" for name in names]
        figures = [f"{row['ms']:.2f}", f"{row['first_ms']:.0f}", f"{row['pairs_per_second']:.2e}", f"{row['ratio']:.2f}"]
        table.add_row(*sizes, str(row["reducer"]), *figures)
    slopes = [f"{label}: {exponent(x, y):.2f}" for label, x, y in _lines(rows, first) if len(set(x)) > 1]
    table.caption = f"exponent of the time in {first}, {'; '.join(slopes)}" if slopes else None
    return table


def _lines(rows: Sequence[Row], first: str) -> list[tuple[str, list[int], list[float]]]:
    """(label, sizes of `first`, milliseconds) for every reducer and every choice of the other sizes."""
    others = [name for name in rows[0] if name not in (*FIGURES, first)]
    varied = [name for name in others if len({row[name] for row in rows}) > 1]
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for row in rows:
        label = ", ".join([str(row["reducer"]), *(f"{name} = {row[name]:,}" for name in varied)])
        x, y = lines.setdefault(label, ([], []))
        x.append(int(row[first]))
        y.append(float(row["ms"]))
    return [(label, x, y) for label, (x, y) in lines.items()]


def _draw(rows: Sequence[Row], first: str, title: str, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, x, y in _lines(rows, first):
        axes.loglog(x, y, "o-", label=literal(label))
    axes.set(title=literal(title), xlabel=literal(f"atoms of {first}"), ylabel="ms a step")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=150)
