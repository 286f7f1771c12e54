"""The teacher's and the student's density, or energy, side by side on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measureflow.api import MeasureflowError
from measureflow_tools.analysis.charts import Chart
from measureflow_tools.analysis.densities import Mesh, mesh_of
from measureflow_tools.analysis.scenes import Scene
from measureflow_tools.plotting import atoms, circle
from measureflow_tools.plotting.laws import Law, What, laws, unit
from measureflow_tools.plotting.pages import Page, pages_of
from measureflow_tools.plotting.style import headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure


FINE = 240  # cells a side
SAME = 1.02  # a density of less contrast is one shade


def draw(scene: Scene, what: What, *, with_data: bool = True, half_width: float | None = None) -> Figure:
    """The last snapshot beside the teacher, if there is one; raises MeasureflowError if no density can be drawn."""
    chart = scene.whole_ground(what)
    mesh = mesh_of(chart, scene.last, FINE, half_width)
    assert mesh is not None
    drawn = list(laws(scene, chart, mesh, what, with_data=with_data))
    if what == "density":
        _contrast(scene, drawn)
    return (circle.draw if chart.kind == "circle" else _maps)(scene, chart, mesh, drawn, what)


def _contrast(scene: Scene, drawn: list[Law]) -> None:
    """Raises MeasureflowError if no law has places that are more likely than others."""
    if all(float(law.values.max()) <= SAME * float(law.values.min()) for law in drawn):
        raise MeasureflowError(
            f"{scene.run.folder}: the density at step {scene.last.step:,} is the same everywhere, up to "
            f"{100 * SAME - 100:.0f}%, so that a picture of it would show one shade; --what energy shows what little it varies"
        )


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
    signs, seen = any(law.neurons is not None for law in drawn), any(law.data is not None for law in drawn)
    entries = atoms.key(dots=dots, signs=signs, planted=False, seen=seen)
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=4 if count > 1 else 2)
    headline(figure, scene.run.title)
    return figure


def shades(what: What) -> Colormap:
    """White where there is nothing, a grey at most so dark that black dots are seen on it."""
    from matplotlib.colors import LinearSegmentedColormap

    ends = ["#ffffff", "#707070"]
    return LinearSegmentedColormap.from_list(what, ends if what == "density" else ends[::-1])


def _norm(drawn: list[Law], what: What) -> Normalize:
    """One scale for all; an energy's goes no higher than 12 above the lowest, where there is no mass left to speak of."""
    from matplotlib.colors import Normalize

    low, high = min(float(p.values.min()) for p in drawn), max(float(p.values.max()) for p in drawn)
    return Normalize(0, high) if what == "density" else Normalize(low, min(high, low + 12))


def _map(axes: Axes, page: Page, mesh: Mesh, law: Law, norm: Normalize, what: What) -> None:
    page.frame(axes, mesh)
    page.shade(axes, mesh, law.values, norm, shades(what))
    if law.data is not None:
        atoms.data(axes, page, law.data)
    if page.view is None and law.particles is not None:
        atoms.particles(axes, page, law.particles)
    if law.neurons is not None:
        atoms.neurons(axes, page, law.neurons, atoms.heaviest(law.neurons))
    axes.set_title(f"{law.name}, {page.name}" if page.name else law.name)
