"""Metrics against the iteration, a panel each: the paper's figure, with bands over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from measureflow.api import MeasureflowError
from measureflow_plugins.observers._drawable import bars, literal, note
from measureflow_plugins.observers._panels import Panel, error_of, fitted, logarithmic, panels
from measureflow_tools.analysis.clocks import ITERATIONS
from measureflow_tools.analysis.groups import Curve, Group, curve
from measureflow_tools.plotting.style import below, colour, grid, headline, logarithm, spans, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PAPER = ("kl", "score", "tv")
ROW = 3  # panels side by side
FEW = 12  # points that are marked


def draw(groups: Sequence[Group], metrics: Sequence[str] = ()) -> Figure:
    """A panel for each of `metrics`, by default all that every run has; raises MeasureflowError for one that a run lacks."""
    from matplotlib.figure import Figure

    chosen, rest = fitted([Panel(name, (name,)) for name in metrics] or shared(groups))
    if not chosen:
        raise MeasureflowError("no metric was measured by all of these runs; name [[metrics]] in the config and run again")
    count = len(chosen) + bool(rest)
    columns = min(ROW, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(0.4 + 3.1 * columns, 0.5 + 2.7 * rows), layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    drawn = [[curve(group, metric) for group in groups for metric in panel.metrics] for panel in chosen]
    log = all(spans(one.clocks[ITERATIONS]) for curves in drawn for one in curves)
    for axes, panel, lines in zip(places, chosen, drawn, strict=False):
        _panel(axes, groups, panel, lines, log)
    for axes in places[count:]:
        axes.remove()
    if rest:
        note(places[len(chosen)], rest)
    if len(groups) == 1:
        headline(figure, groups[0].runs[0].title if len(groups[0].runs) == 1 else groups[0].label)
    else:
        below(figure, places[0], columns=3)
    return figure


def shared(groups: Sequence[Group]) -> list[Panel]:
    """What every run measured, the paper's metrics first; parts such as gap.error only if there is nothing else."""
    runs = [run for group in groups for run in group.runs]
    measured = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    main, parts = panels(measured, runs[0].written)
    found = main or [Panel(name, (name,)) for name in parts]
    return sorted(found, key=lambda panel: PAPER.index(panel.name) if panel.name in PAPER else len(PAPER))


def _panel(axes: Axes, groups: Sequence[Group], panel: Panel, lines: Sequence[Curve], log: bool) -> None:
    """Colours tell groups apart; in a panel of several metrics so do line styles the metrics."""
    who = [(group, metric) for group in groups for metric in panel.metrics]
    for i, ((group, metric), one) in enumerate(zip(who, lines, strict=True)):
        names = [one.label] * (len(groups) > 1) + [panel.label(metric)] * (len(panel.metrics) > 1)
        which = i if len(groups) == 1 else groups.index(group)
        _line(axes, one, _error(group, metric, one), which, style(i), ", ".join(names) or one.label, log)
    axes.set(title=literal(panel.title), xlabel="iteration")
    if log:
        logarithm(axes.xaxis)
    if logarithmic(panel.name, [one.low for one in lines]):
        logarithm(axes.yaxis)
    if len(panel.metrics) > 1:
        axes.legend()
    grid(axes)


def _line(axes: Axes, one: Curve, error: np.ndarray | None, which: int, dashes: str, label: str, log: bool) -> None:
    x = one.clocks[ITERATIONS]
    seen = x > 0 if log else np.ones(len(x), dtype=bool)  # step 0 has no place on a logarithmic axis
    marker = "o" if sum(seen) <= FEW else ""
    look = {} if error is None else {"yerr": bars(error[seen]), "elinewidth": 0.8, "capsize": 2}
    line = {"fmt": dashes, "color": colour(which), "marker": marker, "markersize": 3, "label": literal(label)}
    axes.errorbar(x[seen], one.median[seen], **line, **look)
    if one.runs > 1:
        axes.fill_between(x[seen], one.low[seen], one.high[seen], color=colour(which), alpha=0.2, linewidth=0)


def _error(group: Group, metric: str, one: Curve) -> np.ndarray | None:
    """The standard error of a single run's metric, if it was measured; several runs have a band instead."""
    (run, *others) = group.runs
    if others or error_of(metric) not in run.metrics:
        return None
    known = dict(zip(*(part.tolist() for part in run.series(error_of(metric))), strict=True))
    return np.array([known.get(int(step), 0.0) for step in one.clocks[ITERATIONS]])
