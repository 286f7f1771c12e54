"""Runs that differ in their seed alone, taken together: a median with a band."""

import re
from collections.abc import Sequence
from functools import reduce
from typing import Literal, final

import attrs
import numpy as np

from measureflow.api import Experiment, MeasureflowError, Registry
from measureflow_plugins.observers._drawable import bounded
from measureflow_tools.analysis.clocks import ITERATIONS, PAIRS, SECONDS, cheap_clocks, pairs_per_step
from measureflow_tools.analysis.runs import Run, labels

ENOUGH = 5  # runs from which on a band shows quartiles: fewer have none to speak of


@final
@attrs.frozen(eq=False)
class Group:
    """Runs of one experiment, by a label.

    pairs: pair interactions of a step; None where they cannot be counted, and then `why` says so.
    """

    label: str
    runs: tuple[Run, ...]
    pairs: float | None = None
    why: str = "they were not counted"


@final
@attrs.frozen(eq=False)
class Curve:
    """One metric of a group: its median, and the band from `low` to `high`, all (k,), and the k times on each clock.

    band: what it shows, "range" or "quartiles"; for one run the three curves are one.
    """

    label: str
    runs: int
    clocks: dict[str, np.ndarray]
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    band: Literal["range", "quartiles"]


def grouped(runs: Sequence[Run], registry: Registry) -> list[Group]:
    """Groups in the order of their first runs; runs belong together whose experiments differ in seed, name and observers alone."""
    names, found = labels(runs), list[list[int]]()
    for i, run in enumerate(runs):
        same = next((group for group in found if _bare(runs[group[0]].experiment) == _bare(run.experiment)), None)
        found.append([i]) if same is None else same.append(i)
    return [group(_label(rows, found, runs, names), [runs[i] for i in rows], registry) for rows in found]


def curve(group: Group, metric: str) -> Curve:
    """The metric at the steps that all runs of the group have, values beyond 1e100 as infinities.

    Raises MeasureflowError if a run has not measured it.
    """
    series = [run.series(metric) for run in group.runs]
    steps = reduce(np.intersect1d, [at for at, _ in series])
    if not len(steps):
        raise MeasureflowError(f"{group.label}: its runs have no step in common at which {metric} was measured")
    values = bounded(np.stack([_at(at, value, steps) for at, value in series]))
    low, high = (25, 75) if len(series) >= ENOUGH else (0, 100)
    with np.errstate(invalid="ignore"):  # an infinite value has no neighbour to interpolate with
        edges, median = np.percentile(values, [low, high], axis=0), np.median(values, axis=0)
    band: Literal["range", "quartiles"] = "quartiles" if len(series) >= ENOUGH else "range"
    return Curve(group.label, len(series), _clocks(group, steps), median, edges[0], edges[1], band)


def _at(at: np.ndarray, values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The values (k,) at `steps` (k,), each of which is in `at`; of a step twice there, the last."""
    known = dict(zip(at.tolist(), values.tolist(), strict=True))
    return np.array([known[step] for step in steps.tolist()])


def _bare(e: Experiment) -> Experiment:
    return attrs.evolve(e, seed=0, name="any", observers=())


def _label(group: Sequence[int], groups: Sequence[Sequence[int]], runs: Sequence[Run], names: Sequence[str]) -> str:
    """A single run's folder; of several runs their experiment's name, where no other group has it, and how many they are."""
    if len(group) == 1:
        return names[group[0]]
    what = "seeds" if len({runs[i].experiment.seed for i in group}) == len(group) else "runs"
    mine = runs[group[0]].experiment.name
    alone = all(runs[i].experiment.name != mine for other in groups if other is not group for i in other)
    folder = re.sub(r"[,_-]?seed[=_-]?\d+", "", names[group[0]]) or names[group[0]]
    return f"{mine if alone else folder} ({len(group)} {what})"


def group(label: str, runs: Sequence[Run], registry: Registry) -> Group:
    """These runs under a label, the pair interactions of a step counted where that can be done."""
    try:
        return Group(label, tuple(runs), pairs_per_step(runs[0], registry))
    except MeasureflowError as error:
        return Group(label, tuple(runs), None, str(error))


def _clocks(group: Group, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Iterations, each measure's own time, pair interactions where they are known, and the median of the seconds."""
    every = [cheap_clocks(run, steps) for run in group.runs]
    own = {name: times for name, times in every[0].items() if name not in (ITERATIONS, SECONDS)}
    counted = {} if not group.pairs else {PAIRS: steps * group.pairs}
    seconds = np.median([clocks[SECONDS] for clocks in every], axis=0)
    return {ITERATIONS: every[0][ITERATIONS], **own, **counted, SECONDS: seconds}
