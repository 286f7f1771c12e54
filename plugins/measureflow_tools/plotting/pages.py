"""Pages: where points of a chart are put, and how a density is shaded there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

import attrs
import numpy as np
import torch

from measureflow.api import Particles, System
from measureflow_tools.analysis.charts import Chart
from measureflow_tools.analysis.densities import Mesh
from measureflow_tools.plotting.globe import View, outline, raster, view_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize


RING = 1.12  # the circle's density is a ring of this radius


@final
@attrs.frozen(eq=False)
class Page:
    """A chart, and for the globe the side that is seen; `name` of that side."""

    chart: Chart
    view: View | None = None
    name: str = ""

    def place(self, points: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Where points (n, d) come to lie, (n, 2), and which are in sight (n,)."""
        xy = self.chart(points.cpu()).numpy()
        if self.view is None:
            return xy, np.ones(len(xy), dtype=bool)
        seen = self.view(xy)
        return seen[:, :2], seen[:, 2] >= 0

    def frame(self, axes: Axes, mesh: Mesh | None) -> None:
        """Empty axes that fit the page."""
        kind = self.chart.kind
        if kind in ("globe", "circle"):
            reach = 1.42 if kind == "globe" else 1.35
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axes.set_axis_off()
            if self.view is not None:
                outline(axes, self.view)
            else:
                _circle(axes)
            return
        axes.set(xlabel=self.chart.names[0], ylabel=self.chart.names[1], aspect="equal")
        if mesh is not None and kind in ("plane", "torus"):
            left, right, bottom, top = mesh.extent
            axes.set(xlim=(left, right), ylim=(bottom, top))
        if kind == "projection" and self.chart.space.domain.kind == "sphere":
            _circle(axes)
            axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08))

    def shade(self, axes: Axes, mesh: Mesh, values: np.ndarray, norm: Normalize, colours: str | Colormap) -> None:
        """Values (r c,) of the mesh's cells, as colours."""
        if self.chart.kind == "circle":
            _ring(axes, mesh, values, norm, colours)
            return
        if self.view is not None:
            image, extent = raster(self.view, mesh, values), (-1.0, 1.0, -1.0, 1.0)
        else:
            image, extent = np.ma.masked_array(values.reshape(mesh.rows, mesh.columns)), mesh.extent
        limits = axes.axis()
        axes.imshow(image, extent=extent, origin="lower", cmap=colours, norm=norm, interpolation="bilinear", zorder=0)
        axes.axis(limits)


def pages_of(chart: Chart, system: System) -> list[Page]:
    """Front and back of the globe; one page of anything else."""
    if chart.kind != "globe":
        return [Page(chart)]
    view = view_of(chart, system)
    return [Page(chart, view, "front"), Page(chart, view.behind, "back")]


def thinned(mu: Particles, most: int) -> Particles:
    """At most `most` atoms, spread evenly over the rows."""
    if mu.size <= most:
        return mu
    return mu.take(torch.linspace(0, mu.size - 1, most, dtype=torch.float64).round().long())


def _circle(axes: Axes) -> None:
    turn = np.linspace(0, 2 * math.pi, 361)
    axes.plot(np.cos(turn), np.sin(turn), color="0.45", linewidth=0.8, zorder=1)


def _ring(axes: Axes, mesh: Mesh, values: np.ndarray, norm: Normalize, colours: str | Colormap) -> None:
    from matplotlib.collections import LineCollection

    corners = RING * mesh.points.numpy()
    pieces = LineCollection(np.stack([corners, np.roll(corners, -1, 0)], 1), cmap=colours, norm=norm, linewidth=9, zorder=0)
    pieces.set_array(values)
    axes.add_collection(pieces)
