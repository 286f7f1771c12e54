"""What a study will take, from a few steps of each case."""

import functools
import statistics
from collections.abc import Mapping, Sequence

from measureflow.api import Registry, advance, build, from_tables
from measureflow.footprint import device_of
from measureflow_plugins.planning.clock import timed
from measureflow_plugins.sweeps.members import Member

STEPS = 3


def seconds(cases: Mapping[str, Sequence[Member]], registry: Registry) -> dict[str, float]:
    """Seconds of each case here, all its seeds one after another, metrics not counted."""
    return {case: len(members) * _one(members[0], registry) for case, members in cases.items()}


def _one(member: Member, registry: Registry) -> float:
    e = from_tables(member.tables, registry, member.name)
    built = build(e, registry, member.name)
    work = functools.partial(advance, built.simulation, built.system)
    device = device_of(e)
    work()
    return e.steps * statistics.median(timed(work, device) for _ in range(STEPS))


def spoken(taken: float) -> str:
    """A duration in words."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if taken >= 2 * size:
            return f"{taken / size:.1f} {unit}"
    return f"{taken:.0f} seconds"
