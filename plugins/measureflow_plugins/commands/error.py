"""measureflow error: how much of the last metrics is due to the step, the atoms and the data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

from measureflow.api import MeasureflowError, load
from measureflow.cli import FOLDER, SETTINGS
from measureflow.environment import environment
from measureflow.experiment import Experiment
from measureflow.files import write
from measureflow.footprint import device_of
from measureflow.plugins import Registry
from measureflow_plugins.meter.meter import cost, metered, plan
from measureflow_plugins.meter.report import Metered, table


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(2), help="Seeds, from the experiment's own on.")
@click.option("--resamples", default=4, show_default=True, type=click.IntRange(2), help="Bootstrap resamples of the data a seed.")
@click.option("--json", "into", type=FOLDER, help="Write every estimate, and the environment, to this file.")
@click.pass_obj
def error(registry: Registry, file: Path, settings: tuple[str, ...], seeds: int, resamples: int, into: Path | None) -> None:
    """Estimates how much of the last metrics of FILE is due to the step, to each measure's atoms and to the data.

    docs/error-meter.md says what each number means. Nothing is recorded; FILE is run many times.
    """
    experiment = load(file, registry, settings)
    if not experiment.metrics:
        raise MeasureflowError(f"{file}: has no metrics, so that there is nothing to hold against each other; add [[metrics]]")
    planned = plan(experiment, seeds, resamples)
    work = cost(planned)
    click.echo(
        f"{experiment.name}: {seeds} seeds x {len(planned[0])} runs = {work.runs} runs, {work.steps:,} steps, "
        f"about the work of {work.work} runs of {experiment.steps:,} steps",
        err=True,
    )
    found = _shown(experiment, work.work, lambda tick: metered(planned, registry, str(file), tick))
    Console().print(table(found, f"{experiment.name} at step {experiment.steps}"))
    for each in found:
        click.echo(each.line)
    if into:
        write(into, json.dumps(_told(experiment, found, seeds, resamples), indent=1).encode())


def _shown(e: Experiment, work: int, take: Callable[[Callable[[int], Any]], list[Metered]]) -> list[Metered]:
    """Takes the runs under a progress bar on stderr, in steps' work."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(e.name, total=max(e.steps, 1) * work)
        return take(lambda done: bar.advance(task, done))


def _told(e: Experiment, found: list[Metered], seeds: int, resamples: int) -> dict[str, Any]:
    metrics = {each.name: each.json for each in found}
    head = {"experiment": e.name, "steps": e.steps, "seed": e.seed, "seeds": seeds, "resamples": resamples}
    return {**head, "metrics": metrics, "environment": environment(device_of(e))}
