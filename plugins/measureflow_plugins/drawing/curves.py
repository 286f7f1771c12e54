"""Metrics against the iteration, a panel each: the paper's figure, with bands over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from measureflow.api import MeasureflowError
from measureflow_plugins.drawing.style import below, colour, grid, logarithm, logarithmic, spans, style, title
from measureflow_plugins.reading.clocks import ITERATIONS
from measureflow_plugins.reading.groups import Group, curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PAPER = ("kl", "score", "tv")
ROW = 3  # panels side by side
FEW = 12  # points that are marked


def draw(groups: Sequence[Group], metrics: Sequence[str] = ()) -> Figure:
    """A panel for each of `metrics`, by default all that every run has; raises MeasureflowError for one that a run lacks."""
    from matplotlib.figure import Figure

    names = list(metrics) or shared(groups)
    if not names:
        raise MeasureflowError("no metric was measured by all of these runs; name [[metrics]] in the config and run again")
    columns = min(ROW, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(0.4 + 3.1 * columns, 0.5 + 2.7 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, groups, name)
    for axes in panels[len(names) :]:
        axes.remove()
    if len(groups) == 1:
        figure.suptitle(groups[0].label)
    below(figure, panels[0], columns=3)
    return figure


def shared(groups: Sequence[Group]) -> list[str]:
    """What every run measured, the paper's metrics first; parts such as gap.error only where there is nothing else."""
    runs = [run for group in groups for run in group.runs]
    common = [name for name in runs[0].metrics if all(name in run.metrics for run in runs)]
    main = [name for name in common if "." not in name] or common
    return [*(name for name in PAPER if name in main), *(name for name in main if name not in PAPER)] or runs[0].metrics[:1]


def _panel(axes: Axes, groups: Sequence[Group], metric: str) -> None:
    curves = [curve(group, metric) for group in groups]
    log = any(spans(one.clocks[ITERATIONS]) for one in curves)
    for i, one in enumerate(curves):
        x = one.clocks[ITERATIONS]
        seen = x > 0 if log else np.ones(len(x), dtype=bool)  # step 0 has no place on a logarithmic axis
        axes.plot(
            x[seen],
            one.median[seen],
            style(i),
            color=colour(i),
            label=one.label,
            marker="o" if sum(seen) <= FEW else "",
            markersize=3,
        )
        if one.runs > 1:
            axes.fill_between(x[seen], one.low[seen], one.high[seen], color=colour(i), alpha=0.2, linewidth=0)
    axes.set(title=title(metric), xlabel="iteration")
    if log:
        logarithm(axes.xaxis)
    if logarithmic(metric, [one.low for one in curves]):
        logarithm(axes.yaxis)
    grid(axes)
