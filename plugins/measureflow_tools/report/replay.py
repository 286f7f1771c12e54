"""The replay of a report: snapshots packed small enough for one page.

Coordinates are 16-bit integers of the largest one, weights 8-bit integers with their sign, densities 8-bit of their maximum.
"""

import base64
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from measureflow.api import Built, MeasureflowError, Registry, System
from measureflow_tools.analysis.charts import DATA, TEACHER, Chart, chart_of
from measureflow_tools.analysis.densities import mesh_of, student, teacher, window
from measureflow_tools.analysis.runs import Run, rebuilt
from measureflow_tools.analysis.snapshots import snapshots, steps_saved

SIZE = {"globe": 64, "circle": 90, "plane": 64, "torus": 64}
SHOWN_STILL = 1000  # of the data, which lie behind what moves


def replay(run: Run, registry: Registry) -> dict[str, Any] | None:
    """What the page's script shows of one run, or None where it has no snapshots."""
    if not steps_saved(run.folder):
        return None
    systems = snapshots(run.folder, registry)
    try:
        built: Built | None = rebuilt(run, registry)
    except MeasureflowError:
        built = None  # the data are gone: points can be shown, densities not
    moving = list(run.experiment.measures)
    return {
        "steps": [system.step for system in systems],
        "times": [system.time for system in systems],
        "views": [_view(chart, systems, moving, built) for chart in _charts(systems[-1], moving)],
    }


def _charts(system: System, moving: Sequence[str]) -> list[Chart]:
    """A chart for every space that something moves in, that of the data first."""
    charts: list[Chart] = []
    for name in [DATA, *moving] if DATA in system else moving:
        if not any(chart.shows(system[name]) for chart in charts):
            charts.append(chart_of(system, name))
    return [chart for chart in charts if any(chart.shows(system[name]) for name in moving)]


def _view(chart: Chart, systems: Sequence[System], moving: Sequence[str], built: Built | None) -> dict[str, Any]:
    last = systems[-1]
    shown = [name for name in (DATA, *moving, TEACHER) if name in last and chart.shows(last[name])]
    frames = {name: _frames(chart, systems if name in moving else systems[-1:], name) for name in shown}
    extent = max(float(points.abs().max()) for points, _ in frames.values()) or 1.0
    densities = _densities(chart, systems, built)
    return {
        "kind": chart.kind,
        "names": list(chart.names),
        "extent": extent,
        "window": densities["extent"] if densities and chart.kind == "plane" else _window(chart, frames.values()),
        "measures": [_measure(name, *frames[name], extent, last[name].whole, name in moving) for name in shown],
        "densities": densities,
    }


def _window(chart: Chart, frames: Iterable[tuple[Tensor, Tensor]]) -> list[float] | None:
    """Left, right, bottom and top of a page with axes, the same for all frames; None for the globe and the circle."""
    if chart.kind in ("globe", "circle"):
        return None
    middle, half = torch.zeros(2, dtype=torch.float64), math.pi
    if chart.kind != "torus":
        middle, half = window([points[masses != 0] for points, masses in frames])
    return [float(side) for k in range(2) for side in (middle[k] - half, middle[k] + half)]


def _frames(chart: Chart, systems: Sequence[System], name: str) -> tuple[Tensor, Tensor]:
    """Coordinates (frames, n, k) and signed masses (frames, n); of an unmoved measure at most SHOWN_STILL atoms.

    Where a measure grows or shrinks the frames are filled up with atoms of no mass.
    """
    measures = [system[name] for system in systems]
    n = max(mu.size for mu in measures)
    points = torch.zeros(len(measures), n, chart.axes.shape[1], dtype=torch.float64)
    masses = torch.zeros(len(measures), n, dtype=torch.float64)
    for k, mu in enumerate(measures):
        points[k, : mu.size], masses[k, : mu.size] = chart(mu.points), mu.mass.double()
    thin = slice(None, None, -(-n // SHOWN_STILL) if len(measures) == 1 else 1)
    return points[:, thin], masses[:, thin]


def _measure(name: str, points: Tensor, masses: Tensor, extent: float, whole: int, moves: bool) -> dict[str, Any]:
    even = bool((masses == masses[0, 0]).all())
    scale = float(masses.abs().max()) or 1.0
    weights = masses / scale * 127
    weights = weights.sign() * weights.abs().ceil()  # the lightest atom is still to be seen
    return {
        "name": name, "moves": moves, "whole": whole, "count": points.shape[1], "width": points.shape[2], "even": even,
        "positive": bool(masses[0, 0] > 0), "points": packed(points / extent * 32767, np.int16),
        "weights": None if even else packed(weights, np.int8),
    }  # fmt: skip


def _densities(chart: Chart, systems: Sequence[System], built: Built | None) -> dict[str, Any] | None:
    """Teacher's and student's laws on one mesh and one scale; None where neither can be drawn."""
    mesh = mesh_of(chart, systems[-1], SIZE[chart.kind]) if built is not None and chart.whole else None
    if built is None or mesh is None or DATA not in systems[-1] or not chart.shows(systems[-1][DATA]):
        return None
    planted, learned = teacher(built, mesh), [student(built, system, mesh) for system in systems]
    known = [law for law in learned if law is not None]
    if len(known) < len(learned):  # a frame whose neurons were saved in part has none
        return None
    top = float(max(law.max() for law in ([planted] if planted is not None else []) + known[len(known) // 2 :]))
    return {
        "rows": mesh.rows, "columns": mesh.columns, "extent": list(mesh.extent),
        "teacher": None if planted is None else packed(_shade(planted, top), np.uint8),
        "student": packed(_shade(torch.stack(known), top), np.uint8),
        "top": top * mesh.rows * mesh.columns,
    }  # fmt: skip


def _shade(law: Tensor, top: float) -> Tensor:
    return (law / top).clamp(max=1) * 255


def packed(values: Tensor, dtype: type[np.generic]) -> str:
    """Base64 of the values rounded to integers, little-endian."""
    return base64.b64encode(values.round().numpy().astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode()
