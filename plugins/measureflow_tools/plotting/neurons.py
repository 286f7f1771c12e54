"""Where the neurons are at the start and at the end: sign by colour, weight by size, the teacher marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from measureflow_tools.analysis.charts import chart_of
from measureflow_tools.analysis.densities import mesh_of
from measureflow_tools.analysis.scenes import Scene
from measureflow_tools.plotting import atoms
from measureflow_tools.plotting.pages import pages_of
from measureflow_tools.plotting.style import headline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(scene: Scene, name: str) -> Figure:
    """The first and the last snapshot of one measure, sizes on one scale."""
    from matplotlib.figure import Figure

    chart = chart_of(scene.last, name)
    systems = [scene.systems[0], scene.last] if len(scene.systems) > 1 else [scene.last]
    pages, mesh, planted = pages_of(chart, scene.last), mesh_of(chart, scene.last, 8), scene.teacher(chart)
    each = 2.6 if chart.kind == "globe" else 3.7
    figure = Figure(figsize=(0.4 + each * len(pages) * len(systems), each + 0.5), layout="constrained")
    row = figure.subplots(1, len(pages) * len(systems), squeeze=False)[0]
    for axes, (system, page) in zip(row, ((system, page) for system in systems for page in pages), strict=True):
        page.frame(axes, mesh)
        atoms.neurons(axes, page, system[name], atoms.heaviest(*(other[name] for other in systems)))
        if planted is not None:
            atoms.teacher(axes, page, planted)
        axes.set_title(f"step {system.step:,}" + (f", {page.name}" if page.name else ""))
    headline(figure, f"{scene.run.title}: {scene.last[name].whole:,} atoms of {name}")
    figure.legend(handles=atoms.key(dots=False, signs=True, planted=planted is not None), loc="outside lower center", ncols=3)
    return figure
