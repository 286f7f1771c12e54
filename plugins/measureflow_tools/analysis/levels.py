"""When a metric that falls reaches a level, on every clock, and how runs compare."""

import math
from collections.abc import Sequence
from typing import final

import attrs
import numpy as np

from measureflow_tools.analysis.clocks import ITERATIONS, PAIRS, SECONDS
from measureflow_tools.analysis.groups import Curve, Group, curve
from measureflow_tools.analysis.runs import Run

GRID = (1.0, 2.0, 5.0)  # of every power of ten
MOST = 3  # levels, where none are asked for


@final
@attrs.frozen
class Crossing:
    """When the runs of a group are first at or below a level, by one clock: after `earliest`, and by `latest` at the latest.

    Rows tell no more than that: `earliest` is the row before the band's lower edge is there, `latest` the row at which its upper
    edge is. None: never, or the group does not have the clock. sooner: the least and the most times sooner than the first group
    that this allows, the second None if there is no bound; None if there is nothing to compare.
    """

    level: float
    label: str
    clock: str
    earliest: float | None
    latest: float | None
    sooner: tuple[float, float | None] | None = None


@final
@attrs.frozen(eq=False)
class Comparison:
    """Curves of one metric, by group, and when each reaches each level on each clock.

    chosen: how the levels came about. notes: what to know before one reads the times.
    """

    metric: str
    levels: tuple[float, ...]
    chosen: str
    curves: tuple[Curve, ...]
    crossings: tuple[Crossing, ...]
    notes: tuple[str, ...]

    @property
    def clocks(self) -> list[str]:
        """Every clock that one of the curves has: iterations first, what the hardware decides last."""
        known = [clock for one in self.curves for clock in one.clocks if clock not in (PAIRS, SECONDS)]
        return [*dict.fromkeys(known), *(c for c in (PAIRS, SECONDS) if any(c in one.clocks for one in self.curves))]

    def at(self, level: float, label: str, clock: str) -> Crossing:
        """One of the crossings."""
        return next(c for c in self.crossings if (c.level, c.label, c.clock) == (level, label, clock))


def compare(groups: Sequence[Group], metric: str, levels: Sequence[float] = ()) -> Comparison:
    """Holds groups against the first of them; without `levels`, chooses some. Raises MeasureflowError for an unknown metric."""
    curves = [curve(group, metric) for group in groups]
    chosen, how = (tuple(sorted(set(levels), reverse=True)), "given") if levels else _levels(curves)
    bare = Comparison(metric, chosen, how, tuple(curves), (), tuple(_notes(groups, curves, metric)))
    crossings = [_crossing(level, one, curves[0], clock) for level in chosen for one in curves for clock in bare.clocks]
    return attrs.evolve(bare, crossings=tuple(crossings))


def first_time(one: Curve, clock: str, level: float) -> float | None:
    """A guess at when the median is first at or below the level: between two rows as if its logarithm fell evenly."""
    below = np.flatnonzero(one.median <= level)
    if not len(below) or clock not in one.clocks:
        return None
    row, times = below[0], one.clocks[clock]
    if row == 0:
        return float(times[0])
    return float(times[row - 1] + _share(one.median[row - 1], one.median[row], level) * (times[row] - times[row - 1]))


def _share(before: float, after: float, level: float) -> float:
    """How far along from `before` (above the level) to `after` (at or below it) the level lies, in (0, 1]."""
    if not math.isfinite(before) or not math.isfinite(after):
        return 1.0
    if after > 0:
        before, after, level = math.log(before), math.log(after), math.log(level)
    return (before - level) / (before - after)


def _crossing(level: float, one: Curve, first: Curve, clock: str) -> Crossing:
    mine, theirs = (Crossing(level, each.label, clock, *_between_rows(each, clock, level)) for each in (one, first))
    return attrs.evolve(mine, sooner=_sooner(theirs, mine))


def _between_rows(one: Curve, clock: str, level: float) -> tuple[float | None, float | None]:
    """(earliest, latest) of a crossing."""
    if clock not in one.clocks:
        return None, None
    times, low, high = one.clocks[clock], np.flatnonzero(one.low <= level), np.flatnonzero(one.high <= level)
    earliest = float(times[max(low[0] - 1, 0)]) if len(low) else None
    return earliest, float(times[high[0]]) if len(high) else None


def _sooner(first: Crossing, own: Crossing) -> tuple[float, float | None] | None:
    """The first group's time / the own time, at the least and at the most."""
    if first.earliest is None or own.earliest is None or 0 in (first.latest, own.latest):
        return None
    least = first.earliest / own.latest if own.latest else 0.0
    return least, first.latest / own.earliest if first.latest and own.earliest else None


def _levels(curves: Sequence[Curve]) -> tuple[tuple[float, ...], str]:
    """Levels that all curves pass on their way down, else two of them; how they were chosen."""
    finite = [one.median[np.isfinite(one.median)] for one in curves]
    if not all(len(values) for values in finite):
        return (), "one of the curves has no finite value: give one with --level"
    lowest = sorted(float(values.min()) for values in finite)
    start = min(float(values[0]) for values in finite)
    for reached, by in ((lowest[-1], "all"), (lowest[min(1, len(lowest) - 1)], "at least two")):
        found, how = _between(reached, start)
        if found:
            return found, f"{how}; reached by {by}"
    told = "; ".join(f"{one.label} from {values[0]:.4g} to {values.min():.4g}" for one, values in zip(curves, finite, strict=True))
    return (), f"none lies below every start and is reached by two ({told}): give one with --level"


def _between(low: float, high: float) -> tuple[tuple[float, ...], str]:
    """Up to three levels in [low, high), the lowest among them; on a grid of logarithms, or evenly where that has none."""
    if not low < high:
        return (), ""
    if low > 0:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        grid = sorted(float(f"{c:g}e{p}") for p in powers for c in GRID if low <= float(f"{c:g}e{p}") < high)
        if grid:
            return _spread(grid), "of the grid 1, 2, 5 x 10^k"
    even = {float(f"{low + share * (high - low):.3g}") for share in (0.25, 0.5, 0.75)}
    return _spread(sorted(level for level in even if low <= level < high)), "evenly between start and end"


def _spread(found: Sequence[float]) -> tuple[float, ...]:
    """The lowest, and others as far apart as may be; from high to low."""
    rows = np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int)
    return tuple(found[row] for row in rows[::-1])


def _notes(groups: Sequence[Group], curves: Sequence[Curve], metric: str) -> list[str]:
    """What to know of the rows, the seeds, pair interactions and seconds."""
    alone = [one.label for one in curves if one.runs == 1]
    seeds = [f"one seed each, and another seed may come out otherwise: {', '.join(alone)}"] if alone else []
    missing = [f"{PAIRS} of {group.label} are not known: {group.why}" for group in groups if group.pairs is None]
    return [_spacing(curves, metric), *seeds, *missing, _machines(groups)]


def _spacing(curves: Sequence[Curve], metric: str) -> str:
    """How far apart the rows are."""
    told = "; ".join(f"{one.label}: {np.diff(one.clocks[ITERATIONS]).max(initial=0):g}" for one in curves)
    return f"iterations between two rows of {metric}, within which no time is known, at most: {told}"


def _machines(groups: Sequence[Group]) -> str:
    """Whose seconds these are."""
    machines: dict[str, list[str]] = {}
    for group in groups:
        for run in group.runs:
            machines.setdefault(machine(run), []).append(run.name)
    if len(machines) == 1:
        return f"{SECONDS} are those of {next(iter(machines))}, start-up and whatever else it did included"
    told = "; ".join(f"{', '.join(names)} on {where}" for where, names in machines.items())
    return f"{SECONDS} were measured on different machines and tell little: {told}"


def machine(run: Run) -> str:
    """Device, threads and platform as the run recorded them."""
    facts = run.environment
    if not {"device", "threads", "platform"} <= facts.keys():
        return "a machine that was not recorded"
    return f"{facts['device']} ({facts['threads']} thread{'s' if facts['threads'] != 1 else ''}, {facts['platform']})"
