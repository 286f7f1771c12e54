"""The sphere S^2 seen from afar: which side, what is in sight, and a density on it as pixels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import attrs
import numpy as np

from measureflow.api import Particles, System
from measureflow_tools.analysis.charts import DATA, TEACHER, Chart
from measureflow_tools.analysis.densities import Mesh

if TYPE_CHECKING:
    from matplotlib.axes import Axes


TILT = math.radians(20)  # so that what one looks straight at is seen from a little above


@final
@attrs.frozen(eq=False)
class View:
    """An orthographic view: rows of `axes` (3, 3) point right, up and toward the eye."""

    axes: np.ndarray

    @property
    def behind(self) -> View:
        """The view from the other side, up being up."""
        return View(self.axes * np.array([[-1.0], [1.0], [-1.0]]))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """(right, up, toward) of points (n, 3)."""
        return points @ self.axes.T


def view_of(chart: Chart, system: System) -> View:
    """A view in which the teacher's neurons, or where there are none the data, lie in front, spread from left to right."""
    there = [system[name] for name in (TEACHER, DATA, *system.measures) if name in system and chart.shows(system[name])]
    points, weights = _atoms(there[0])
    mean = weights @ points
    toward = mean / np.linalg.norm(mean) if np.linalg.norm(mean) > 0.05 * weights.sum() else np.linalg.svd(points)[2][2]
    flat = (points - np.outer(points @ toward, toward)) * weights[:, None] ** 0.5
    fallback = 1e-3 * (np.eye(3) - np.outer(toward, toward))
    right = np.linalg.svd(np.concatenate([flat, fallback]))[2][0]
    up = np.cross(toward, right)
    tilted = math.cos(TILT) * toward + math.sin(TILT) * up
    return View(np.stack([right, np.cross(tilted, right), tilted]))


def _atoms(mu: Particles) -> tuple[np.ndarray, np.ndarray]:
    rows = slice(None, None, max(1, mu.size // 2000))
    return mu.points.double().cpu().numpy()[rows], mu.mass.double().abs().cpu().numpy()[rows]


def raster(view: View, mesh: Mesh, values: np.ndarray, pixels: int = 500) -> np.ma.MaskedArray:
    """Values (r c,) of the mesh's cells as an image (pixels, pixels), rows upwards, masked beyond the globe's edge."""
    ticks = (np.arange(pixels) + 0.5) * (2 / pixels) - 1
    u, v = np.meshgrid(ticks, ticks)
    outside = u * u + v * v > 1
    w = np.sqrt(np.clip(1 - u * u - v * v, 0, None))
    x, y, z = np.moveaxis(np.stack([u, v, w], -1) @ view.axes, -1, 0)
    rows = (z + 1) * mesh.rows / 2 - 0.5
    columns = (np.arctan2(y, x) / (2 * math.pi) + 0.5) * mesh.columns - 0.5
    return np.ma.masked_array(_between(values.reshape(mesh.rows, mesh.columns), rows, columns), outside)


def _between(cells: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear interpolation, around the globe in the columns and held at the poles in the rows."""
    r, c = np.clip(rows, 0, cells.shape[0] - 1), columns
    r0, c0 = np.minimum(np.floor(r).astype(int), cells.shape[0] - 2), np.floor(c).astype(int)
    a, b, left, right = r - r0, c - c0, c0 % cells.shape[1], (c0 + 1) % cells.shape[1]
    low = (1 - b) * cells[r0, left] + b * cells[r0, right]
    high = (1 - b) * cells[r0 + 1, left] + b * cells[r0 + 1, right]
    return (1 - a) * low + a * high


def outline(axes: Axes, view: View) -> None:
    """The globe's edge, and meridians and parallels every 30 degrees."""
    turn = np.linspace(0, 2 * math.pi, 181)
    for latitude in np.radians([-60, -30, 0, 30, 60]):
        circle = [math.cos(latitude) * np.cos(turn), math.cos(latitude) * np.sin(turn), np.full_like(turn, math.sin(latitude))]
        _arc(axes, view, np.stack(circle, 1))
    for longitude in np.radians(np.arange(0, 180, 30)):
        circle = [np.cos(turn) * math.cos(longitude), np.cos(turn) * math.sin(longitude), np.sin(turn)]
        _arc(axes, view, np.stack(circle, 1))
    axes.plot(np.cos(turn), np.sin(turn), color="0.35", linewidth=0.9, zorder=3)


def _arc(axes: Axes, view: View, points: np.ndarray) -> None:
    seen = view(points)
    hidden = seen[:, 2] < 0
    seen[hidden] = np.nan
    axes.plot(seen[:, 0], seen[:, 1], color="0.5", alpha=0.35, linewidth=0.5, zorder=2)
