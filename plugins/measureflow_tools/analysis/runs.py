"""A recorded run as reports, figures and comparisons read it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from measureflow.api import Built, Experiment, MeasureflowError, Registry, build
from measureflow.config.memory import device_of, too_large
from measureflow.core.schedule import Schedule
from measureflow.errors import unknown
from measureflow.opening import read_text
from measureflow.run.events import read_events
from measureflow.run.metrics_log import read_metrics
from measureflow.run.recover import halved, halvings_in
from measureflow.run.runner import recorded
from measureflow_plugins.observers._panels import heading

FACTS = ("step", "seconds")  # what every row has beside its metrics


@final
@attrs.frozen(eq=False)
class Run:
    """One run folder: its experiment, the rows of metrics.jsonl and the environment it ran in."""

    folder: Path
    experiment: Experiment
    rows: tuple[dict[str, float], ...]
    environment: dict[str, Any]
    events: tuple[dict[str, Any], ...] = ()

    @property
    def step(self) -> Schedule:
        """The step size that was taken, halvings included."""
        return halved(self.experiment.step, halvings_in(self.events))

    @property
    def name(self) -> str:
        """The folder's name, which tells runs of one experiment apart."""
        return self.folder.resolve().name

    @property
    def title(self) -> str:
        """What a figure of this run alone is called."""
        return heading(self.experiment.name, self.folder)

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics measured, in the order in which they came."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name not in FACTS))

    @property
    def written(self) -> list[tuple[str, ...]]:
        """The names that each metric of the config writes."""
        return [probe.metric.names for probe in self.experiment.metrics]

    @property
    def last(self) -> dict[str, float]:
        """The last value of everything measured."""
        return {name: value for row in self.rows for name, value in row.items()}

    def series(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps (k,), values (k,)) of one metric; raises MeasureflowError where it was not measured."""
        rows = [row for row in self.rows if metric in row]
        if not rows:
            raise MeasureflowError(f"{self.folder}: {unknown('metric', metric, self.metrics)}")
        return np.array([int(row["step"]) for row in rows]), np.array([row[metric] for row in rows], dtype=float)


def read(folder: Path, registry: Registry) -> Run:
    """The run in a folder; raises MeasureflowError where it is none or is damaged."""
    experiment = recorded(folder, registry)
    path = folder / "environment.json"
    try:
        environment = dict(json.loads(read_text(path)))
    except (OSError, ValueError, TypeError, RecursionError):
        raise MeasureflowError(f"{path}: missing or damaged; every run writes one at its start") from None
    rows = read_metrics(folder)
    if rows and max(row["step"] for row in rows) > experiment.steps:
        raise MeasureflowError(f"{folder}: metrics.jsonl has a step beyond the {experiment.steps} of the run; remove that line")
    return Run(folder, experiment, tuple(rows), environment, tuple(read_events(folder)))


def read_all(folders: Sequence[Path], registry: Registry) -> list[Run]:
    """Several runs, each folder once; raises MeasureflowError where one is none."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise MeasureflowError("the same run is given twice; name each once")
    return [read(folder, registry) for folder in folders]


def rebuilt(run: Run, registry: Registry) -> Built:
    """The run's experiment built again, here: on another device if its own is missing; raises MeasureflowError.

    A large one is refused, since a folder of others may name any size.
    """
    e = run.experiment
    try:
        device_of(e)
    except MeasureflowError:
        e = attrs.evolve(e, device="auto")
    large = too_large(e)
    if large:
        raise MeasureflowError(f"{run.folder}: is not built again: {large}")
    return build(e, registry, str(run.folder))


def labels(runs: Sequence[Run]) -> list[str]:
    """A short name for each run, no two alike: the folder's name, with as many of its parents as that needs."""
    parts = [run.folder.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]
