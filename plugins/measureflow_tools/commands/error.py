"""measureflow error: how much of the last metrics is due to the step, the atoms and the data."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from measureflow.api import MeasureflowError, load
from measureflow.cli import FOLDER, SETTINGS
from measureflow.config import structure as config
from measureflow.config.experiment import Experiment
from measureflow.config.memory import device_of
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow.run.environment import environment
from measureflow_tools.error_budget.kept import Kept
from measureflow_tools.error_budget.meter import cost, metered, plan
from measureflow_tools.error_budget.report import Metered, table
from measureflow_tools.error_budget.runs import Rows, Run, ended
from measureflow_tools.sweeps.cost import spoken, taken
from measureflow_tools.sweeps.report import claim, stopped


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(2), help="Seeds, from the experiment's own on.")
@click.option("--resamples", default=4, show_default=True, type=click.IntRange(2), help="Bootstrap resamples of the data a seed.")
@click.option("--out", type=FOLDER, help="The folder; what is in it is not run again. Default: runs/<stamp>-<name>-error.")
@click.option("--json", "into", type=FOLDER, help="Write every estimate, and the environment, to this file.")
@click.pass_obj
def error(
    registry: Registry, file: Path, settings: tuple[str, ...], seeds: int, resamples: int, out: Path | None, into: Path | None
) -> None:
    """Measures the errors of step, atoms and data.

    Estimates how much of the last metrics of FILE is due to the step, to each measure's atoms and to the data, for which FILE is
    run many times; docs/error-meter.md says what each number means. After Ctrl-C the same command goes on.
    """
    experiment = load(file, registry, settings)
    if not experiment.metrics:
        raise MeasureflowError(f"{file}: has no metrics, so that there is nothing to hold against each other; add [[metrics]]")
    planned = plan(experiment, seeds, resamples)
    folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{experiment.name}-error"
    asked = "".join(f"# {part}\n" for part in (*settings, f"{seeds} seeds", f"{resamples} resamples"))
    claim(folder, "error.toml", config.dumps(config.unstructure(experiment)) + asked)
    _announce(experiment, planned, registry)
    try:
        found = _taken(experiment, planned, Kept.at(folder / "runs.jsonl"), registry, str(file))
    except KeyboardInterrupt:
        stopped(folder)
    Console().print(table(found, f"{experiment.name} at step {experiment.steps}"))
    for each in found:
        click.echo(each.line)
    if into:
        write(into, json.dumps(_told(experiment, found, seeds, resamples), indent=1).encode())


def _announce(e: Experiment, planned: Sequence[Sequence[Run]], registry: Registry) -> None:
    """What it will take, before it starts."""
    work = cost(planned)
    click.echo(
        f"{e.name}: {len(planned)} seeds x {len(planned[0])} runs = {work.runs} runs, {work.steps:,} steps, "
        f"about the work of {work.work} runs of {e.steps:,} steps: {spoken(work.work * taken(e, registry))} here, or more",
        err=True,
    )


def _taken(e: Experiment, planned: Sequence[Sequence[Run]], kept: Kept, registry: Registry, where: str) -> list[Metered]:
    """Takes the runs that are not kept, under a progress bar on stderr and with a line for each."""
    every = [one for seed in planned for one in seed]
    left, began = sum(one.work for one in every[len(kept.known) :]), time.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(e.name, total=max(e.steps, 1) * left)

        def take(number: int, one: Run) -> Rows:
            here = number >= len(kept.known)
            rows = kept.rows(number, e.steps, lambda: ended(one, registry, where, lambda: bar.advance(task, one.work)))
            if here:
                ahead = sum(other.work for other in every[number + 1 :])
                time_left = (time.monotonic() - began) * ahead / (left - ahead)
                said = f"run {number + 1} of {len(every)} (seed {one.experiment.seed}, {one.part}); about {spoken(time_left)} left"
                bar.console.print(said, highlight=False, markup=False, soft_wrap=True)
            return rows

        return metered(planned, take)


def _told(e: Experiment, found: list[Metered], seeds: int, resamples: int) -> dict[str, Any]:
    metrics = {each.name: each.json for each in found}
    head = {"experiment": e.name, "steps": e.steps, "seed": e.seed, "seeds": seeds, "resamples": resamples}
    return {**head, "metrics": metrics, "environment": environment(device_of(e))}
