"""The curves of a report: every metric in a panel, every run a colour, any clock below."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from measureflow_plugins.observers._drawable import bounded
from measureflow_plugins.observers._panels import Panel, error_of, logarithmic
from measureflow_tools.analysis.clocks import cheap_clocks
from measureflow_tools.analysis.runs import Run

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#8F6B00", "#56B4E9", "#666666", "#000000")  # told apart by most eyes
DASHES = ("solid", "dash", "dot", "dashdot")  # plotly's names of the metrics' lines in one panel


def figure(runs: Sequence[Run], labels: Sequence[str], panels: Sequence[Panel]) -> dict[str, Any]:
    """A plotly figure as data: `data`, `layout`, and for each trace its `clocks`, by name the x of every point.

    Where the panels are is left to the page, which knows its width.
    """
    layout: dict[str, Any] = {
        "margin": {"l": 60, "r": 20, "t": 80 if len(runs) > 1 else 44, "b": 60},  # the legend needs room
        "legend": {"orientation": "h", "x": 0, "yanchor": "bottom"},
        "showlegend": len(runs) > 1,
        "font": {"color": "#1a1a1a", "size": 13},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "annotations": [],
    }
    measured = [np.unique([int(row["step"]) for row in run.rows]) for run in runs]
    times = [cheap_clocks(run, steps) for run, steps in zip(runs, measured, strict=True)]
    traces: list[dict[str, Any]] = []
    clocks = []
    for i, panel in enumerate(panels):
        suffix, seen = str(i + 1) if i else "", []
        for j, metric in enumerate(panel.metrics):
            for k, (run, label, colour) in enumerate(zip(runs, labels, COLOURS * len(runs), strict=False)):
                if metric not in run.metrics:
                    continue
                steps, values = run.series(metric)
                seen.append(values)
                new = not any(trace["legendgroup"] == label for trace in traces)
                look = {"name": html.escape(label), "legendgroup": label, "showlegend": new}
                line = {"color": colour, "width": 2, "dash": DASHES[j % len(DASHES)]}
                traces.append(
                    {
                        "type": "scatter", "mode": "lines" if len(values) > 1 else "markers", **look, "line": line,
                        "y": _plain(values), **_error(run, metric, steps), "xaxis": f"x{suffix}", "yaxis": f"y{suffix}",
                    }
                )  # fmt: skip
                at = np.searchsorted(measured[k], steps)
                clocks.append({name: _plain(x[at]) for name, x in times[k].items()})
        layout |= _axes(suffix, logarithmic(panel.name, seen))
        layout["annotations"].append(_title(panel, suffix))
    titles = {name: html.escape(name) for known in clocks for name in known}
    return {"data": traces, "layout": layout, "clocks": clocks, "titles": titles}


def _error(run: Run, metric: str, steps: np.ndarray) -> dict[str, Any]:
    """The error bars of a metric whose standard error was measured too."""
    if error_of(metric) not in run.metrics:
        return {}
    known = dict(zip(*(part.tolist() for part in run.series(error_of(metric))), strict=True))
    bars = _plain(np.array([known.get(step, math.nan) for step in steps.tolist()]))
    return {"error_y": {"type": "data", "array": bars, "thickness": 1, "width": 2}}


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers for a page that draws gaps for those that are not finite or beyond 1e100."""
    return [value if math.isfinite(value) else None for value in bounded(values).tolist()]


def _axes(suffix: str, log: bool) -> dict[str, Any]:
    """Both axes of a panel; every x follows the first, so that a zoom in one is a zoom in all."""
    grid = {"gridcolor": "#e2e2e2", "linecolor": "#666666", "showline": True, "zeroline": False, "ticks": "outside"}
    x = {**grid, "anchor": f"y{suffix}", **({"matches": "x"} if suffix else {})}
    return {f"xaxis{suffix}": x, f"yaxis{suffix}": {**grid, "anchor": f"x{suffix}", "type": "log" if log else "linear"}}


def _title(panel: Panel, suffix: str) -> dict[str, Any]:
    place = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    lines = [f"{panel.label(metric)} {DASHES[j % len(DASHES)]}" for j, metric in enumerate(panel.metrics)]
    names = f" ({', '.join(lines)})" if len(lines) > 1 else ""
    return {"text": f"<b>{html.escape(panel.title)}</b>{html.escape(names)}", "showarrow": False, **place}
