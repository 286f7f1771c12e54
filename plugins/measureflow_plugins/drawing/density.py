"""The teacher's and the student's density, or energy, side by side on one scale."""

import math
from collections.abc import Iterator
from typing import Literal, final

import attrs
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from measureflow.api import MeasureflowError, Particles
from measureflow_plugins.drawing import atoms
from measureflow_plugins.drawing.pages import Page, pages_of
from measureflow_plugins.drawing.style import colour, grid
from measureflow_plugins.reading.charts import DATA, Chart
from measureflow_plugins.reading.densities import Mesh, learned, mesh_of, teacher
from measureflow_plugins.reading.scenes import Scene

What = Literal["density", "energy"]
FINE = 240  # cells a side
DOTS = colour(4)  # of particles
COLOURS = {"density": "Greys", "energy": "Greys_r"}


@final
@attrs.frozen(eq=False)
class Panel:
    """One law: its name, the value of each cell, the atoms to draw with it."""

    name: str
    values: np.ndarray
    neurons: Particles | None = None
    particles: Particles | None = None


from __future__ import annotations

from typing import TYPE_CHECKING

from measureflow_plugins.drawing import atoms, circle
from measureflow_plugins.drawing.laws import Law, What, laws, unit
from measureflow_plugins.reading.charts import Chart
from measureflow_plugins.reading.densities import Mesh, mesh_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


def draw(scene: Scene, what: What) -> Figure:
    """The last snapshot beside the teacher, where there is one; raises MeasureflowError where no density can be drawn."""
    chart = scene.whole_ground(what)
    mesh = mesh_of(chart, scene.last, FINE)
    assert mesh is not None
    panels = list(_panels(scene, chart, mesh, what))
    return _lines(scene, chart, mesh, panels, what) if chart.kind == "circle" else _maps(scene, chart, mesh, panels, what)


def shown(mass: torch.Tensor, chart: Chart, mesh: Mesh, what: What) -> np.ndarray:
    """Cells' masses as densities, against the uniform law or on the plane against area; or as f + log Z."""
    p = mass.numpy()
    if what == "energy":
        share = torch.log_softmax(mesh.log_area, 0).numpy()
        return share - np.log(np.maximum(p, np.finfo(float).tiny))
    left, right, bottom, top = mesh.extent
    return p * len(p) / ((right - left) * (top - bottom) if chart.kind == "plane" else 1.0)


def unit(chart: Chart, what: What) -> str:
    """What the numbers are."""
    if what == "energy":
        return "energy $f + \\log Z$"
    return "density" if chart.kind == "plane" else "density against the uniform law"


def _panels(scene: Scene, chart: Chart, mesh: Mesh, what: What) -> Iterator[Panel]:
    built = scene.built()
    planted = teacher(built, mesh)
    if planted is not None:
        yield Panel("teacher", shown(planted, chart, mesh, what), scene.teacher(chart), scene.last.measures.get(DATA))
    try:
        mass = learned(built, scene.last, mesh)
    except MeasureflowError as error:
        raise MeasureflowError(f"{scene.run.folder}: {error}") from None
    name = scene.neurons()
    mine = scene.last[name] if name == "gamma" and chart.shows(scene.last[name]) else None
    yield Panel(f"step {scene.last.step:,}", shown(mass, chart, mesh, what), mine, scene.particles(chart))


def _maps(scene: Scene, chart: Chart, mesh: Mesh, panels: list[Panel], what: What) -> Figure:
    pages = pages_of(chart, scene.last)
    count = len(panels) * len(pages)
    width, height = (2.45, 3.0) if chart.kind == "globe" else (3.4, 4.0)
    figure = Figure(figsize=(0.9 + width * count, height), layout="constrained")
    norm = _norm(panels, what)
    row = figure.subplots(1, count, squeeze=False)[0]
    for axes, (panel, page) in zip(row, ((panel, page) for panel in panels for page in pages), strict=True):
        _map(axes, page, mesh, panel, norm, what)
    figure.colorbar(row[0].images[0], ax=list(row), label=unit(chart, what), shrink=0.75, aspect=22, pad=0.02)
    dots = any(panel.particles is not None for panel in panels) and chart.kind != "globe"
    entries = atoms.key(dots=DOTS if dots else None, signs=any(panel.neurons is not None for panel in panels), planted=False)
    drawn = list(laws(scene, chart, mesh, what))
    return (circle.draw if chart.kind == "circle" else _maps)(scene, chart, mesh, drawn, what)


def _maps(scene: Scene, chart: Chart, mesh: Mesh, drawn: list[Law], what: What) -> Figure:
    from matplotlib.figure import Figure

    count = len(drawn) * len(pages)
    norm = _norm(drawn, what)
    for axes, (law, page) in zip(row, ((law, page) for law in drawn for page in pages), strict=True):
        _map(axes, page, mesh, law, norm, what)
    dots = any(law.particles is not None for law in drawn) and chart.kind != "globe"
    entries = atoms.key(dots=dots, signs=any(law.neurons is not None for law in drawn), planted=False)
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=3)
    figure.suptitle(scene.run.name)
    return figure


def _norm(panels: list[Panel], what: What) -> Normalize:
    """One scale for all; an energy's goes no higher than 12 above the lowest, where there is no mass left to speak of."""
    low, high = min(float(p.values.min()) for p in panels), max(float(p.values.max()) for p in panels)
    return Normalize(0, high) if what == "density" else Normalize(low, min(high, low + 12))


def _map(axes: Axes, page: Page, mesh: Mesh, panel: Panel, norm: Normalize, what: What) -> None:
    page.frame(axes, mesh)
    page.shade(axes, mesh, panel.values, norm, COLOURS[what])
    if page.view is None and panel.particles is not None:
        atoms.particles(axes, page, panel.particles, DOTS)
    if panel.neurons is not None:
        atoms.neurons(axes, page, panel.neurons, atoms.heaviest(panel.neurons))
    axes.set_title(f"{panel.name}, {page.name}" if page.name else panel.name)


def _lines(scene: Scene, chart: Chart, mesh: Mesh, panels: list[Panel], what: What) -> Figure:
    """On the circle: curves over the angle, the neurons as stems below."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    angles = np.degrees(np.arctan2(*mesh.points.numpy().T[::-1]))
    for i, panel in enumerate(panels):
        planted = panel.name == "teacher"
        look = {"color": "black", "linestyle": "--"} if planted else {"color": colour(0), "linestyle": "-"}
        top.plot(angles, panel.values, label=panel.name, zorder=3 + i, **look)
    if what == "density" and DATA in scene.last:
        seen = _degrees(scene.last[DATA])
        height, edges = np.histogram(seen, 72, (-180, 180))
        top.stairs(height / len(seen) * 72, edges, fill=True, color="0.88", label="data", zorder=1)
    top.set(ylabel=unit(chart, what), title=scene.run.name, xlim=(-180, 180))
    if what == "density":
        top.set_ylim(bottom=0)
    top.legend()
    for panel in panels:
        if panel.neurons is not None:
            _stems(bottom, panel.neurons, panel.name == "teacher")
    bottom.axhline(0, color="0.4", linewidth=0.8)
    bottom.set(xlabel="angle, degrees", ylabel="weight / largest", xticks=range(-180, 181, 60), ylim=(-1.25, 1.25))
    entries = atoms.key(dots=None, signs=True, planted=any(panel.name == "teacher" for panel in panels))
    figure.legend(handles=entries, loc="outside lower center", ncols=3)
    grid(top)
    return figure


def _stems(axes: Axes, mu: Particles, planted: bool) -> None:
    mass = mu.mass.double().numpy()
    share, angle = mass / np.abs(mass).max(), _degrees(mu)
    colours = np.where(mass > 0, atoms.POSITIVE, atoms.NEGATIVE)
    if planted:
        axes.scatter(angle, share, s=70, marker="^", facecolors="none", edgecolors=colours, linewidths=1.4, zorder=4)
    else:
        axes.vlines(angle, 0, share, colors=colours, linewidth=1.4, zorder=3)


def _degrees(mu: Particles) -> np.ndarray:
    x, y = mu.points.double().numpy().T
    return np.asarray(np.arctan2(y, x) * (180 / math.pi))


def _norm(drawn: list[Law], what: What) -> Normalize:
    from matplotlib.colors import Normalize

    low, high = min(float(p.values.min()) for p in drawn), max(float(p.values.max()) for p in drawn)


def _map(axes: Axes, page: Page, mesh: Mesh, law: Law, norm: Normalize, what: What) -> None:
    page.shade(axes, mesh, law.values, norm, COLOURS[what])
    if page.view is None and law.particles is not None:
        atoms.particles(axes, page, law.particles)
    if law.neurons is not None:
        atoms.neurons(axes, page, law.neurons, atoms.heaviest(law.neurons))
    axes.set_title(f"{law.name}, {page.name}" if page.name else law.name)
