"""Clocks: what a run's steps are counted in.

Iterations favour whoever takes large steps, seconds whoever had the faster machine; so a comparison shows every clock.
"""

import numpy as np

from measureflow.api import Registry
from measureflow_tools.analysis.runs import Run, rebuilt
from measureflow_tools.analysis.timing import pairs

MOST = 10**7  # steps whose sizes are added up
ITERATIONS, SECONDS, PAIRS = "iterations", "seconds", "pair interactions"
NAMES = {"nu": "particle time", "gamma": "neuron time"}


def clock_of(measure: str) -> str:
    """The name of a measure's own clock."""
    return NAMES.get(measure, f"time of {measure}")


def own_times(run: Run, steps: np.ndarray) -> dict[str, np.ndarray]:
    """By clock, the time that has passed in each moving measure after `steps` (k,): the sum of h times its flows' pace.

    The pace is that of the fastest flow in the list; a measure that no flow drives has no clock, nor has a run of more than
    MOST steps.
    """
    e, last = run.experiment, int(max(steps, default=0))
    if last > MOST:
        return {}
    step_size = run.step
    h = np.array([step_size(step) for step in range(last)])
    times = {}
    for name, player in e.measures.items():
        pace = np.array([max((flow.pace(step) for flow in player.flows), default=0.0) for step in range(last)])
        if pace.any():
            times[clock_of(name)] = np.concatenate([[0.0], np.cumsum(h * pace)])[steps]
    return times


def seconds(run: Run, steps: np.ndarray) -> np.ndarray:
    """Seconds since the run's start after `steps` (k,), which are steps of its rows."""
    known = {int(row["step"]): row["seconds"] for row in run.rows}
    return np.array([known[int(step)] for step in steps], dtype=float)


def cheap_clocks(run: Run, steps: np.ndarray) -> dict[str, np.ndarray]:
    """Every clock that is read off the folder alone."""
    return {ITERATIONS: steps.astype(float), **own_times(run, steps), SECONDS: seconds(run, steps)}


def pairs_per_step(run: Run, registry: Registry) -> float:
    """Pair interactions of one step, which is taken to count them; raises MeasureflowError where that cannot be done here."""
    built = rebuilt(run, registry)
    return float(pairs(built.dynamics, built.system))
