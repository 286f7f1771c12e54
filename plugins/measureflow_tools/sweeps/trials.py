"""Trials of a search: what to try next, and how well each did."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from measureflow.errors import MeasureflowError
from measureflow.opening import read_text
from measureflow.run.metrics_log import read_metrics
from measureflow_plugins.extras import needed
from measureflow_tools.sweeps.members import Outcome
from measureflow_tools.sweeps.ranges import Range

Settings = Mapping[str, Any]


def suggested(space: Mapping[str, Range], past: Sequence[Outcome], count: int, seed: int, of: str) -> list[Settings]:
    """The next settings to try together, by optuna's TPE sampler, after trials that are over.

    The sampler is seeded by `seed` and the number of trials, so that a search that was interrupted goes on as it would have.
    """
    optuna = needed("optuna", "measureflow search", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    state = np.random.SeedSequence((seed, len(past))).generate_state(1)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=int(state[0])))
    distributions = {path: each.distribution(optuna) for path, each in space.items()}
    for each in past:
        params = {path: space[path].drawn(value) for path, value in each.settings.items()}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, **_ended(each, of, optuna)))
    drawn = [study.ask(distributions).params for _ in range(count)]
    return [{path: each.value(params[path]) for path, each in space.items()} for params in drawn]


def _ended(outcome: Outcome, of: str, optuna: Any) -> dict[str, Any]:
    if of in outcome.metrics:
        return {"value": outcome.metrics[of]}
    return {"state": optuna.trial.TrialState.FAIL}


def judged(outcome: Outcome, metric: str, of: str) -> Outcome:
    """The same with the median of the metric's last tenth as another metric, named `of`; failed where that is not finite."""
    if outcome.status != "done":
        return outcome
    values = [row[metric] for row in read_metrics(Path(outcome.folder)) if metric in row]
    value = statistics.median(values[-math.ceil(len(values) / 10) :]) if values else math.nan
    if not math.isfinite(value):
        return attrs.evolve(outcome, status="failed", error=f"{metric} is {value} at the end")
    return attrs.evolve(outcome, metrics={of: value, **outcome.metrics})


def best(outcomes: Sequence[Outcome], of: str) -> Outcome | None:
    """The trial with the least `of`; None where all failed."""
    return min((each for each in outcomes if of in each.metrics), key=lambda each: each.metrics[of], default=None)


def recorded(folder: Path, space: Mapping[str, Range]) -> list[Outcome]:
    """The trials in index.json, in order, none if there is no such file; raises MeasureflowError if it is damaged."""
    path = folder / "index.json"
    if not path.exists():
        return []
    try:
        found = [Outcome(**each) for each in json.loads(read_text(path))]
        if all(_sound(each, space) for each in found):
            return found
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    raise MeasureflowError(f"{path}: is damaged, or of another search; remove it, and the trials are counted from the first")


def _sound(outcome: Outcome, space: Mapping[str, Range]) -> bool:
    """Whether a trial has a value within its range for each key, and finite metrics."""
    texts = (outcome.name, outcome.folder, outcome.status, outcome.error)
    values = outcome.settings
    return (
        all(type(text) is str for text in texts)
        and type(outcome.seed) is int
        and values.keys() == space.keys()
        and all(space[path].has(value) for path, value in values.items())
        and all(type(value) in (int, float) and math.isfinite(value) for value in (*outcome.metrics.values(), outcome.seconds))
    )
