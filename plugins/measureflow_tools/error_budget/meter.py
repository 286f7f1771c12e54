"""Runs side by side, seed after seed, and the estimates of every metric."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from typing import final

import attrs

from measureflow.config.experiment import Experiment
from measureflow.observe.observer import Row
from measureflow_tools.error_budget.estimates import Estimate, deviation, of_atoms, of_data, of_step
from measureflow_tools.error_budget.report import Metered
from measureflow_tools.error_budget.runs import BASE, DATA, STEP, TEST, Rows, Run, runs


@final
@attrs.frozen
class Cost:
    """What the meter will do: runs and steps in all, and the work in units of one run of the experiment."""

    runs: int
    steps: int
    work: int


def plan(e: Experiment, seeds: int, resamples: int) -> list[list[Run]]:
    """The runs of each seed, which start from the experiment's own."""
    return [list(runs(attrs.evolve(e, seed=e.seed + i), resamples)) for i in range(seeds)]


def cost(planned: Sequence[Sequence[Run]]) -> Cost:
    """Half steps count as steps; a run with half the step, or twice the atoms, counts as the work of two."""
    every = [one for seed in planned for one in seed]
    steps = sum(one.experiment.steps * (one.work if one.part == STEP else 1) for one in every)
    return Cost(len(every), steps, sum(one.work for one in every))


def metered(planned: Sequence[Sequence[Run]], take: Callable[[int, Run], Rows]) -> list[Metered]:
    """Takes every run, by its number; the estimates of every metric, with a part for each thing that was varied."""
    numbers = itertools.count()
    return held([_rows([take(next(numbers), one) for one in seed]) for seed in planned])


def _rows(taken: Sequence[Rows]) -> Rows:
    """The last rows of one seed's runs, by part."""
    rows: dict[str, list[Row]] = {}
    for each in taken:
        for part, found in each.items():
            rows.setdefault(part, []).extend(found)
    return rows


def held(seeds: Sequence[Rows]) -> list[Metered]:
    """The estimates, from the last rows of every seed's runs."""
    return [_metric(name, seeds) for name in seeds[0][BASE][0]]


def _metric(name: str, seeds: Sequence[Rows]) -> Metered:
    values = [rows[BASE][0][name] for rows in seeds]
    order = sorted(seeds[0], key=lambda part: part == TEST)
    parts = tuple(_part(part, name, seeds) for part in order if part != BASE)
    return Metered(name, statistics.fmean(values), deviation(values), parts)


def _part(part: str, name: str, seeds: Sequence[Rows]) -> Estimate:
    if part in (DATA, TEST):
        return of_data([[row[name] for row in rows[part]] for rows in seeds], part)
    differences = [rows[BASE][0][name] - rows[part][0][name] for rows in seeds]
    return of_step(differences) if part == STEP else of_atoms(part, differences)
