"""The curves of a report: every metric a panel, every run a line, any clock below."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from measureflow_plugins.observers.curves import LINEAR, TITLES
from measureflow_plugins.reading.clocks import cheap_clocks
from measureflow_plugins.reading.runs import Run

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA3377", "#8F6B00", "#56B4E9", "#666666", "#000000")  # told apart by most eyes
COLUMNS, HEIGHT = 3, 290
GAP_X, GAP_Y = 0.07, 90  # between panels: a share of the width, pixels of the height


def panels(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The metrics of all runs, and apart those that are a part of another one, as `nll.error` is of `nll`."""
    found = dict.fromkeys(metric for run in runs for metric in run.metrics)
    parts = [metric for metric in found if "." in metric and metric.split(".")[0] in found]
    return [metric for metric in found if metric not in parts], parts


def figure(runs: Sequence[Run], labels: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """A plotly figure as data: `data`, `layout`, and for each trace its `clocks`, by name the x of every point."""
    rows = max(1, -(-len(metrics) // COLUMNS))
    top = 80 if len(runs) > 1 else 44  # the legend needs room
    layout: dict[str, Any] = {
        "height": HEIGHT * rows + top + 50,
        "margin": {"l": 60, "r": 20, "t": top, "b": 50},
        "legend": {"orientation": "h", "x": 0, "y": 1 + 36 / (HEIGHT * rows), "yanchor": "bottom"},
        "showlegend": len(runs) > 1,
        "font": {"color": "#1a1a1a", "size": 13},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hovermode": "closest",
        "annotations": [],
    }
    measured = [np.unique([int(row["step"]) for row in run.rows]) for run in runs]
    times = [cheap_clocks(run, steps) for run, steps in zip(runs, measured, strict=True)]
    traces, clocks = [], []
    for i, metric in enumerate(metrics):
        suffix = str(i + 1) if i else ""
        positive = True
        for k, (run, label, colour) in enumerate(zip(runs, labels, COLOURS * len(runs), strict=False)):
            if metric not in run.metrics:
                continue
            steps, values = run.series(metric)
            positive &= bool((values[np.isfinite(values)] > 0).all())
            new = not any(trace["legendgroup"] == label for trace in traces)
            line = {"name": html.escape(label), "legendgroup": label, "showlegend": new, "line": {"color": colour, "width": 2}}
            mode = {"type": "scatter", "mode": "lines" if len(values) > 1 else "markers"}
            traces.append({**mode, **line, "y": _plain(values), "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
            at = np.searchsorted(measured[k], steps)
            clocks.append({name: _plain(x[at]) for name, x in times[k].items()})
        log = positive and metric.split(".")[0] not in LINEAR
        layout |= _axes(i, suffix, rows, log)
        layout["annotations"].append(_title(TITLES.get(metric, metric).replace("$\\gamma$", "gamma"), suffix))
    return {"data": traces, "layout": layout, "clocks": clocks}


def _plain(values: np.ndarray) -> list[float | None]:
    """Numbers as JSON has them, which knows no NaN: a gap in the curve."""
    return [value if math.isfinite(value) else None for value in values.tolist()]


def _axes(i: int, suffix: str, rows: int, log: bool) -> dict[str, Any]:
    """Both axes of panel `i`; every x follows the first, so that a zoom in one is a zoom in all."""
    row, column = divmod(i, COLUMNS)
    width = (1 - GAP_X * (COLUMNS - 1)) / COLUMNS
    gap = GAP_Y / (HEIGHT * rows)
    height = (1 - gap * (rows - 1)) / rows
    left, top = column * (width + GAP_X), 1 - row * (height + gap)
    grid = {"gridcolor": "#e2e2e2", "linecolor": "#666666", "showline": True, "zeroline": False, "ticks": "outside"}
    x = {**grid, "domain": [left, left + width], "anchor": f"y{suffix}", **({"matches": "x"} if suffix else {})}
    y = {
        **grid,
        "domain": [max(top - height, 0.0), top],
        "anchor": f"x{suffix}",
        "type": "log" if log else "linear",
        "exponentformat": "power",
    }
    return {f"xaxis{suffix}": x, f"yaxis{suffix}": y}


def _title(text: str, suffix: str) -> dict[str, Any]:
    place = {"xref": f"x{suffix} domain", "yref": f"y{suffix} domain", "x": 0, "y": 1, "xanchor": "left", "yanchor": "bottom"}
    return {"text": f"<b>{html.escape(text)}</b>", "showarrow": False, **place}
