"""A comparison as a table and in words."""

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.markup import escape
from rich.table import Table

from measureflow_plugins.reading.clocks import ITERATIONS, PAIRS, SECONDS
from measureflow_plugins.reading.levels import Comparison

FASTER, SLOWER = 1.25, 0.8  # a ratio of times between the two is no difference
NEARLY = 1.1  # what is left of a speed-up from here to FASTER is little, and still something
COUNTED = (ITERATIONS, PAIRS, SECONDS)  # fewer of these, less of the others
Verdict = Literal["speed-up", "gone", "reversed"]


def verdict(ratio: float) -> Verdict:
    """What a ratio says, other's time / own time: "speed-up" from 1.25 on, "reversed" below 0.8, "gone" in between."""
    ratio = round(ratio, 9)  # times are sums of steps
    return "speed-up" if ratio >= FASTER else "reversed" if ratio < SLOWER else "gone"


def table(comparison: Comparison) -> Table:
    """First times by level, group and clock, each with how many times sooner than the first group's it is."""
    title = f"first time at which {comparison.metric} is at or below a level"
    caption = f"levels: {comparison.chosen}; in brackets: times sooner than {comparison.curves[0].label}"
    shown = Table("level", "run", *comparison.clocks, title=title, caption=caption)
    for level in comparison.levels:
        for i, one in enumerate(comparison.curves):
            cells = [_cell(comparison, level, one.label, clock, i > 0) for clock in comparison.clocks]
            shown.add_row(f"{level:g}" if i == 0 else "", escape(one.label), *cells, end_section=i == len(comparison.curves) - 1)
    return shown


def sentences(comparison: Comparison) -> list[str]:
    """For each level and each further group, what is left of a speed-up in iterations on the other clocks; then the notes."""
    first, *others = [one.label for one in comparison.curves]
    told = [_told(comparison, level, first, other) for level in comparison.levels for other in others]
    return [*told, *(f"{note[0].upper()}{note[1:]}." for note in comparison.notes)]


def times(ratio: float) -> str:
    """A ratio as it is read: 401, 20.1, 1.0, 0.05."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2g}"


def _cell(comparison: Comparison, level: float, label: str, clock: str, bracket: bool) -> str:
    crossing = comparison.at(level, label, clock)
    one = next(one for one in comparison.curves if one.label == label)
    if clock not in one.clocks:
        return "not known"
    if crossing.time is None:
        return "not reached"
    ratio = f" ({times(crossing.ratio)})" if bracket and crossing.ratio is not None else ""
    return f"{_amount(crossing.time)}{ratio}"


def _amount(time: float) -> str:
    whole = (float(time).is_integer() or time >= 100) and time < 1e6
    return f"{time:,.0f}" if whole else f"{time:.3g}"


def _told(comparison: Comparison, level: float, first: str, other: str) -> str:
    """The sentence for one level and two groups."""
    goal = f"{comparison.metric} = {level:g}"
    reached = {label: comparison.at(level, label, ITERATIONS).time for label in (first, other)}
    if None in reached.values():
        return _missed(comparison, goal, reached)
    ratio = comparison.at(level, other, ITERATIONS).ratio
    if ratio is None:
        low = [label for label, at in reached.items() if not at]
        return f"{_listed(low)} {'start' if len(low) > 1 else 'starts'} at or below {goal}: nothing to compare."
    fast, slow = (other, first) if ratio >= 1 else (first, other)
    ratios = dict(_ratios(comparison, level, fast, slow))
    if verdict(ratios[ITERATIONS]) == "gone":
        return _alike(goal, fast, slow, ratios)
    return _faster(goal, fast, slow, ratios)


def _ratios(comparison: Comparison, level: float, fast: str, slow: str) -> Iterator[tuple[str, float]]:
    """slow's time / fast's time on every clock that both have."""
    for clock in comparison.clocks:
        mine, theirs = (comparison.at(level, label, clock).time for label in (fast, slow))
        if mine and theirs:
            yield clock, theirs / mine


def _missed(comparison: Comparison, goal: str, reached: dict[str, float | None]) -> str:
    """Says who does not get there, and in how many iterations who does."""
    last = {one.label: f"{int(one.clocks[ITERATIONS][-1]):,}" for one in comparison.curves}
    one, other = reached
    if reached[one] is None and reached[other] is None:
        return f"Neither {one} (in {last[one]} iterations) nor {other} (in {last[other]}) reaches {goal}."
    got, lost = (one, other) if reached[other] is None else (other, one)
    return f"{got} reaches {goal} in {reached[got]:,.0f} iterations; {lost} does not reach it in {last[lost]}."


def _alike(goal: str, fast: str, slow: str, ratios: dict[str, float]) -> str:
    told = f"{fast} and {slow} reach {goal} in about as many iterations ({times(ratios[ITERATIONS])} times)"
    others = [_share(clock, ratio) for clock, ratio in ratios.items() if verdict(ratio) != "gone"]
    return f"{told}; {fast} takes {_listed(others)}." if others else f"{told}, and as much of every other clock."


def _faster(goal: str, fast: str, slow: str, ratios: dict[str, float]) -> str:
    """The speed-up in iterations, the clocks on which it stays, and those on which it does not."""
    judged = {clock: verdict(ratio) for clock, ratio in ratios.items()}
    kept = [_share(clock, ratio) for clock, ratio in ratios.items() if judged[clock] == "speed-up" and clock != ITERATIONS]
    lost = {clock: ratio for clock, ratio in ratios.items() if judged[clock] != "speed-up"}
    told = f"{fast} reaches {goal} in {times(ratios[ITERATIONS])} times fewer iterations than {slow}"
    told += f" and with {_listed(kept)}" if kept else ""
    if not lost:
        return f"{told}."
    but = _listed([f"{times(1 / ratio)} times the {clock}" for clock, ratio in lost.items()])
    near = [clock for clock, ratio in lost.items() if ratio >= NEARLY]
    gone = [clock for clock in lost if judged[clock] == "gone" and clock not in near]
    ends = [("nearly gone", near), ("gone", gone), ("reversed", [clock for clock in lost if judged[clock] == "reversed"])]
    end = " and ".join(f"{word} in {_listed(clocks)}" for word, clocks in ends if clocks)
    return f"{told}, but in {but}: the speed-up in iterations is {end}."


def _share(clock: str, ratio: float) -> str:
    less, much = ("fewer", "as many") if clock in COUNTED else ("less", "as much")
    return f"{times(ratio)} times {less} {clock}" if ratio >= 1 else f"{times(1 / ratio)} times {much} {clock}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
