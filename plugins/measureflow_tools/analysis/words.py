"""A comparison as a table."""

from rich.markup import escape
from rich.table import Table

from measureflow_tools.analysis.levels import Comparison, Crossing


def table(comparison: Comparison) -> Table:
    """By level, group and clock, between which times the level is reached, and how many times sooner than in the first group."""
    title = f"time at which {comparison.metric} is first at or below a level, to within the rows and the seeds"
    caption = f"levels: {comparison.chosen}; sooner and later: than {comparison.curves[0].label}; open: either may be the sooner"
    shown = Table("level", "run", *comparison.clocks, title=title, caption=caption)
    for level in comparison.levels:
        for i, one in enumerate(comparison.curves):
            crossings = [comparison.at(level, one.label, clock) for clock in comparison.clocks]
            cells = [_cell(crossing, i > 0) if crossing.clock in one.clocks else "not known" for crossing in crossings]
            shown.add_row(f"{level:g}" if i == 0 else "", escape(one.label), *cells, end_section=i == len(comparison.curves) - 1)
    return shown


def _cell(crossing: Crossing, compared: bool) -> str:
    """The time, and under it how it compares."""
    if crossing.earliest is None:
        return "not reached"
    if crossing.latest == 0:
        return "at the start"
    last = "or later" if crossing.latest is None else f"to {_amount(crossing.latest)}"
    times = f"{_amount(crossing.earliest)} {last}"
    return f"{times}\n{sooner(*crossing.sooner)}" if compared and crossing.sooner else times


def sooner(least: float, most: float | None) -> str:
    """How many times sooner at the least and at the most, in words: `15 to 40 times sooner`, or `open`."""
    if least > 1:
        return f"{_span(least, most)} times sooner"
    if most is not None and most < 1:
        return f"{_span(1 / most, 1 / least if least else None)} times later"
    return "open"


def _span(least: float, most: float | None) -> str:
    return f"over {least:.3g}" if most is None else f"{least:.3g} to {most:.3g}"


def _amount(time: float) -> str:
    whole = (float(time).is_integer() or time >= 100) and time < 1e6
    return f"{time:,.0f}" if whole else f"{time:.3g}"
