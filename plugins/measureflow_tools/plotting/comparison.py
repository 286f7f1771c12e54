"""One metric of several groups against every clock, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from measureflow_plugins.observers._drawable import LARGEST, bounded, literal
from measureflow_plugins.observers._panels import TITLES, logarithmic
from measureflow_tools.analysis.clocks import SECONDS
from measureflow_tools.analysis.groups import Curve
from measureflow_tools.analysis.levels import Comparison, first_time
from measureflow_tools.plotting.style import below, colour, grid, logarithm, spans, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(comparison: Comparison) -> Figure:
    """A panel a clock: medians, bands, the levels dotted, a mark where each is reached."""
    from matplotlib.figure import Figure

    clocks = comparison.clocks
    figure = Figure(figsize=(0.6 + 2.55 * len(clocks), 3.5), layout="constrained")
    row = figure.subplots(1, len(clocks), sharey=True, squeeze=False)[0]
    for axes, clock in zip(row, clocks, strict=True):
        _panel(axes, comparison, clock)
    row[0].set_ylabel(literal(TITLES.get(comparison.metric, comparison.metric)))
    below(figure, row[0], columns=3)
    return figure


def _panel(axes: Axes, comparison: Comparison, clock: str) -> None:
    for level in comparison.levels:
        axes.axhline(level, color="0.55", linewidth=0.8, linestyle=":", zorder=1)
    here = [bounded(one.clocks[clock]) for one in comparison.curves if clock in one.clocks]
    log = any(spans(times) for times in here)
    for i, one in enumerate(comparison.curves):
        if clock in one.clocks:
            _line(axes, one, clock, i, log)
            _marks(axes, one, clock, i, comparison.levels)
    axes.set_xlabel(literal(clock))
    if log:
        logarithm(axes.xaxis)
    if logarithmic(comparison.metric, [one.low for one in comparison.curves]):
        logarithm(axes.yaxis)
    if len(here) < len(comparison.curves):
        missing = [one.label for one in comparison.curves if clock not in one.clocks]
        axes.set_title(literal(f"not known: {', '.join(missing)}"), fontsize=7, color="0.4")
    elif clock == SECONDS:
        axes.set_title("of the machines recorded", fontsize=7, color="0.4")
    grid(axes)


def _line(axes: Axes, one: Curve, clock: str, i: int, log: bool) -> None:
    """The median and its band; a start at time 0 has no place on a logarithmic axis."""
    seen = one.clocks[clock] > 0 if log else np.ones(len(one.median), dtype=bool)
    x = bounded(one.clocks[clock])[seen]
    name = one.label if one.runs == 1 else f"{one.label}, median and {one.band}"
    axes.plot(x, one.median[seen], style(i), color=colour(i), label=literal(name))
    if one.runs > 1:
        axes.fill_between(x, one.low[seen], one.high[seen], color=colour(i), alpha=0.2, linewidth=0)


def _marks(axes: Axes, one: Curve, clock: str, i: int, levels: tuple[float, ...]) -> None:
    for level in levels:
        time = first_time(one, clock, level)
        if time and time <= LARGEST:
            axes.plot([time], [level], "o", color=colour(i), markersize=4, markeredgecolor="white", markeredgewidth=0.6)
