"""Frames of a film: a snapshot each, with one scale, one view and one size throughout."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, final

import attrs
import numpy as np

from measureflow.api import MeasureflowError, System
from measureflow_plugins.observers._drawable import literal
from measureflow_tools.analysis.charts import Chart, chart_of
from measureflow_tools.analysis.densities import Mesh, learned, mesh_of
from measureflow_tools.analysis.scenes import Scene
from measureflow_tools.plotting import atoms
from measureflow_tools.plotting.density import shades
from measureflow_tools.plotting.laws import shown
from measureflow_tools.plotting.pages import Page, pages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure


CELLS = 128  # a side
DOTS_PER_INCH = 130


@final
@attrs.frozen(eq=False)
class Film:
    """What stays the same: pages, mesh, scale, the names of the measures drawn; `shades` a density (r c,) for each frame."""

    scene: Scene
    pages: list[Page]
    mesh: Mesh | None
    dots: tuple[str, ...]
    neurons: str | None
    heaviest: float
    shades: list[np.ndarray]
    norm: Normalize

    def __len__(self) -> int:
        return len(self.scene.systems)


def prepared(scene: Scene, what: str) -> Film:
    """What all frames share; `what`: "density", "neurons" or "particles". Raises MeasureflowError where that is not to be seen."""
    if what == "neurons":
        name = scene.neurons()
        chart = chart_of(scene.last, name)
        return _film(scene, chart, (), name, [])
    chart = scene.whole_ground(what) if what == "density" else scene.ground()
    dots = tuple(name for name in scene.moving if name != "gamma" and chart.shows(scene.last[name]))
    if what == "particles":
        if not dots:
            raise MeasureflowError(f"{scene.run.folder}: no particles move where the data live; --what neurons shows what moves")
        return _film(scene, chart, dots, None, [])
    gamma = "gamma" if "gamma" in scene.moving and chart.shows(scene.last["gamma"]) else None
    return _film(scene, chart, dots, gamma, _shades(scene, chart))


def _film(scene: Scene, chart: Chart, dots: tuple[str, ...], neurons: str | None, shades: list[np.ndarray]) -> Film:
    from matplotlib.colors import Normalize

    heaviest = atoms.heaviest(*(system[neurons] for system in scene.systems)) if neurons else 0.0
    top = max((float(values.max()) for values in shades), default=1.0)
    mesh = mesh_of(chart, scene.last, CELLS)
    return Film(scene, pages_of(chart, scene.last), mesh, dots, neurons, heaviest, shades, Normalize(0, 1.15 * top))


def _shades(scene: Scene, chart: Chart) -> list[np.ndarray]:
    mesh, built = mesh_of(chart, scene.last, CELLS), scene.built()
    assert mesh is not None
    try:
        return [shown(learned(built, system, mesh), chart, mesh, "density") for system in scene.systems]
    except MeasureflowError as error:
        raise MeasureflowError(f"{scene.run.folder}: {error}; --what particles needs none") from None


def frames(film: Film) -> Iterator[np.ndarray]:
    """Images (height, width, 3) of bytes, both sides even, as video wants them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for i, system in enumerate(film.scene.systems):
        canvas = FigureCanvasAgg(_figure(film, i, system))
        canvas.draw()
        image = np.asarray(canvas.buffer_rgba())[..., :3]
        yield np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])


def _figure(film: Film, i: int, system: System) -> Figure:
    from matplotlib.figure import Figure

    width = 3.6 if len(film.pages) > 1 else 4.8
    figure = Figure(figsize=(width * len(film.pages), width + 0.7), dpi=DOTS_PER_INCH)
    row = figure.subplots(1, len(film.pages), squeeze=False)[0]
    for axes, page in zip(row, film.pages, strict=True):
        _draw(axes, page, film, i, system)
    figure.subplots_adjust(left=0.02 if len(row) > 1 else 0.15, right=0.98, bottom=0.14, top=0.86, wspace=0.02)
    figure.suptitle(literal(f"{film.scene.run.title}: step {system.step:,}, time {system.time:.4g}"), fontsize=11, y=0.97)
    planted = film.neurons is not None and film.scene.teacher(film.pages[0].chart) is not None
    entries = atoms.key(dots=bool(film.dots), signs=film.neurons is not None, planted=planted)
    figure.legend(handles=entries, loc="lower center", ncols=4, fontsize=8, columnspacing=1.0, handletextpad=0.3)
    return figure


def _draw(axes: Axes, page: Page, film: Film, i: int, system: System) -> None:
    page.frame(axes, film.mesh)
    if film.shades and film.mesh is not None:
        page.shade(axes, film.mesh, film.shades[i], film.norm, shades("density"))
    _hold(axes, page, film)
    for name in film.dots:
        atoms.particles(axes, page, system[name])
    if film.neurons is not None:
        atoms.neurons(axes, page, system[film.neurons], film.heaviest)
        planted = film.scene.teacher(page.chart)
        if planted is not None:
            atoms.teacher(axes, page, planted)


def _hold(axes: Axes, page: Page, film: Film) -> None:
    """Where nothing else sets the limits, those of all frames together."""
    if page.chart.kind != "projection" or page.chart.space.domain.kind == "sphere":
        return
    names = [film.neurons] if film.neurons else film.dots
    xy = np.concatenate([page.place(system[name].points)[0] for system in film.scene.systems for name in names])
    low, high = xy.min(0), xy.max(0)
    edge = 0.06 * np.maximum(high - low, 1e-9)
    axes.set(xlim=(low[0] - edge[0], high[0] + edge[0]), ylim=(low[1] - edge[1], high[1] + edge[1]))
