"""The teacher's and the student's density, or energy, side by side on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measureflow_plugins.drawing import atoms, circle
from measureflow_plugins.drawing.laws import Law, What, laws, unit
from measureflow_plugins.drawing.pages import Page, pages_of
from measureflow_plugins.reading.charts import Chart
from measureflow_plugins.reading.densities import Mesh, mesh_of
from measureflow_plugins.reading.scenes import Scene

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


FINE = 240  # cells a side
COLOURS = {"density": "Greys", "energy": "Greys_r"}


def draw(scene: Scene, what: What) -> Figure:
    """The last snapshot beside the teacher, where there is one; raises MeasureflowError where no density can be drawn."""
    chart = scene.whole_ground(what)
    mesh = mesh_of(chart, scene.last, FINE)
    assert mesh is not None
    drawn = list(laws(scene, chart, mesh, what))
    return (circle.draw if chart.kind == "circle" else _maps)(scene, chart, mesh, drawn, what)


def _maps(scene: Scene, chart: Chart, mesh: Mesh, drawn: list[Law], what: What) -> Figure:
    from matplotlib.figure import Figure

    pages = pages_of(chart, scene.last)
    count = len(drawn) * len(pages)
    width, height = (2.45, 3.0) if chart.kind == "globe" else (3.4, 4.0)
    figure = Figure(figsize=(0.9 + width * count, height), layout="constrained")
    norm = _norm(drawn, what)
    row = figure.subplots(1, count, squeeze=False)[0]
    for axes, (law, page) in zip(row, ((law, page) for law in drawn for page in pages), strict=True):
        _map(axes, page, mesh, law, norm, what)
    figure.colorbar(row[0].images[0], ax=list(row), label=unit(chart, what), shrink=0.75, aspect=22, pad=0.02)
    dots = any(law.particles is not None for law in drawn) and chart.kind != "globe"
    entries = atoms.key(dots=dots, signs=any(law.neurons is not None for law in drawn), planted=False)
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=3)
    figure.suptitle(scene.run.name)
    return figure


def _norm(drawn: list[Law], what: What) -> Normalize:
    """One scale for all; an energy's goes no higher than 12 above the lowest, where there is no mass left to speak of."""
    from matplotlib.colors import Normalize

    low, high = min(float(p.values.min()) for p in drawn), max(float(p.values.max()) for p in drawn)
    return Normalize(0, high) if what == "density" else Normalize(low, min(high, low + 12))


def _map(axes: Axes, page: Page, mesh: Mesh, law: Law, norm: Normalize, what: What) -> None:
    page.frame(axes, mesh)
    page.shade(axes, mesh, law.values, norm, COLOURS[what])
    if page.view is None and law.particles is not None:
        atoms.particles(axes, page, law.particles)
    if law.neurons is not None:
        atoms.neurons(axes, page, law.neurons, atoms.heaviest(law.neurons))
    axes.set_title(f"{law.name}, {page.name}" if page.name else law.name)
