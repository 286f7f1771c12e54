"""What runs will take, from a few steps of one."""

import functools
import statistics
from collections.abc import Mapping, Sequence

from measureflow.api import Experiment, Registry, advance, build, from_tables
from measureflow.config.memory import device_of
from measureflow.config.structure import Raw
from measureflow_plugins.reducers.autotune.clock import timed
from measureflow_tools.sweeps.members import Member

STEPS = 3


def seconds(cases: Mapping[str, Sequence[Member]], registry: Registry) -> dict[str, float]:
    """Seconds of each case here, all its seeds one after another, metrics not counted."""
    firsts = {case: members[0] for case, members in cases.items()}
    return {case: len(cases[case]) * taken(from_tables(one.tables, registry, one.name), registry) for case, one in firsts.items()}


def taken(e: Experiment, registry: Registry) -> float:
    """Seconds of a run here, metrics not counted."""
    built = build(e, registry, e.name)
    work = functools.partial(advance, built.dynamics, built.system)
    device = device_of(e)
    work()
    return e.steps * statistics.median(timed(work, device) for _ in range(STEPS))


def announced(tables: Raw, registry: Registry, runs: int, jobs: int) -> str:
    """`20 runs of 1,000 steps, about 3.5 minutes each here, 2 side by side`, judged by one of them."""
    head, tail = f"{runs} runs of {tables['steps']:,} steps", f"{jobs} side by side"
    try:
        return f"{head}, about {spoken(taken(from_tables(tables, registry), registry))} each here without metrics, {tail}"
    except Exception:  # what fails here fails in its own run, which says so
        return f"{head}, {tail}"


def spoken(taken: float) -> str:
    """A duration in words."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if taken >= 2 * size:
            return f"{taken / size:.1f} {unit}"
    return f"{taken:.0f} seconds"
