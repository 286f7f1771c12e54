"""Laws on the circle, as curves over the angle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from measureflow.api import Particles
from measureflow_plugins.observers._drawable import literal
from measureflow_tools.analysis.charts import Chart
from measureflow_tools.analysis.densities import Mesh
from measureflow_tools.analysis.scenes import Scene
from measureflow_tools.plotting import atoms
from measureflow_tools.plotting.laws import Law, What, unit
from measureflow_tools.plotting.palette import NEGATIVE, POSITIVE
from measureflow_tools.plotting.style import colour, grid

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(scene: Scene, chart: Chart, mesh: Mesh, drawn: list[Law], what: What) -> Figure:
    """Densities with the data behind them, or energies; the neurons as stems below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _curves(top, mesh, drawn, what)
    top.set(ylabel=unit(chart, what), title=literal(scene.run.title), xlim=(-180, 180))
    for law in drawn:
        if law.neurons is not None:
            _stems(bottom, law.neurons, law.name == "teacher")
    bottom.axhline(0, color="0.4", linewidth=0.8)
    bottom.set(xlabel="angle, degrees", ylabel="weight / largest", xticks=range(-180, 181, 60), ylim=(-1.25, 1.25))
    entries = atoms.key(dots=False, signs=True, planted=any(law.name == "teacher" for law in drawn))
    figure.legend(handles=entries, loc="outside lower center", ncols=3)
    grid(top)
    return figure


def _curves(axes: Axes, mesh: Mesh, drawn: list[Law], what: What) -> None:
    angles = np.degrees(np.arctan2(*mesh.points.numpy().T[::-1]))
    for i, law in enumerate(law for law in drawn if law.name != "data"):
        planted = law.name == "teacher"
        look = {"color": "black", "linestyle": "--"} if planted else {"color": colour(0), "linestyle": "-"}
        axes.plot(angles, law.values, label=law.name, zorder=3 + i, **look)
    data = next((law.data for law in drawn if law.data is not None), None)
    if what == "density" and data is not None:
        seen = _degrees(data)
        height, edges = np.histogram(seen, 72, (-180, 180))
        axes.stairs(height / len(seen) * 72, edges, fill=True, color="0.88", label="data", zorder=1)
    if what == "density":
        axes.set_ylim(bottom=0)
    axes.legend()


def _stems(axes: Axes, mu: Particles, planted: bool) -> None:
    mass = mu.mass.double().numpy()
    share, angle = mass / np.abs(mass).max(), _degrees(mu)
    colours = np.where(mass > 0, POSITIVE, NEGATIVE)
    if planted:
        axes.scatter(angle, share, s=70, marker="^", facecolors="none", edgecolors=colours, linewidths=1.4, zorder=4)
    else:
        axes.vlines(angle, 0, share, colors=colours, linewidth=1.4, zorder=3)


def _degrees(mu: Particles) -> np.ndarray:
    x, y = mu.points.double().numpy().T
    return np.asarray(np.arctan2(y, x) * (180 / math.pi))
