"""Densities of Gibbs laws on S^2, S^1, the torus and the plane, on a grid."""

import math
from collections.abc import Sequence
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.api import Built, MeasureflowError, Need, Particles, Potential, System
from measureflow_tools.analysis.charts import DATA, TEACHER, Chart
from measureflow_tools.analysis.snapshots import scaled_up

EDGE = 0.25  # the plane's window reaches this share of the data's width beyond the data


@final
@attrs.frozen(eq=False)
class Mesh:
    """Cells of equal shape on a chart: `points` (r c, d) row after row, `log_area` (r c,), log tau of each cell up to a constant.

    rows, columns: r, c. extent: (left, right, bottom, top) of the page, where rows run from bottom to top. On the globe a
    column is a longitude in degrees and a row an equal step of z, so that all cells have one area.
    """

    points: Float[Tensor, "rc d"]
    log_area: Float[Tensor, " rc"]
    rows: int
    columns: int
    extent: tuple[float, float, float, float]


def mesh_of(chart: Chart, system: System, size: int = 96, half_width: float | None = None) -> Mesh | None:
    """A mesh of about size^2 cells (size x 1 on the circle); None if the page does not show the space itself.

    half_width: of the plane's window, which by default is as wide as the data and a margin.
    """
    if chart.kind == "globe":
        return _globe(chart, size)
    if chart.kind == "circle":
        angles = (torch.arange(4 * size, dtype=torch.float64) + 0.5) * (2 * math.pi / (4 * size)) - math.pi
        points = torch.stack([angles.cos(), angles.sin()], 1)
        return Mesh(points, torch.zeros_like(angles), 1, 4 * size, (-180.0, 180.0, 0.0, 1.0))
    if chart.kind in ("plane", "torus"):
        return _box(chart, system, size, half_width)
    return None


def _globe(chart: Chart, size: int) -> Mesh:
    columns = 2 * size
    z = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 / size) - 1
    lon = (torch.arange(columns, dtype=torch.float64) + 0.5) * (2 * math.pi / columns) - math.pi
    z, lon = z.repeat_interleave(columns), lon.repeat(size)
    r = (1 - z * z).sqrt()
    points = torch.stack([r * lon.cos(), r * lon.sin(), z], 1)
    return Mesh(points, torch.zeros_like(z), size, columns, (-180.0, 180.0, -1.0, 1.0))


def _box(chart: Chart, system: System, size: int, half_width: float | None) -> Mesh:
    middle, half = torch.zeros(2, dtype=torch.float64), math.pi
    if chart.kind == "plane":
        clouds = [mu.points for mu in system.measures.values() if chart.shows(mu)]
        middle, half = window([system[DATA].points] if DATA in system and chart.shows(system[DATA]) else clouds)
        half = half_width or half
    low, high = middle - half, middle + half
    ticks = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    x, y = (low[k] + ticks * (high[k] - low[k]) for k in range(2))
    points = torch.stack([x.repeat(size), y.repeat_interleave(size)], 1)
    log_area = chart.space.domain.log_density(points)
    return Mesh(points, log_area, size, size, (float(low[0]), float(high[0]), float(low[1]), float(high[1])))


def window(clouds: Sequence[Float[Tensor, "n 2"]]) -> tuple[Float[Tensor, " 2"], float]:
    """Middle and half the width of a square round all points, with a margin."""
    points = torch.cat(tuple(clouds)).double().cpu()
    low, high = points.amin(0), points.amax(0)
    return (low + high) / 2, (0.5 + EDGE) * (float((high - low).max()) or 1.0)


def student(built: Built, system: System, mesh: Mesh) -> Float[Tensor, " rc"] | None:
    """The mass of each cell under exp(-f) dtau / Z, normalised on the mesh; None where `learned` raises."""
    try:
        return learned(built, system, mesh)
    except MeasureflowError:
        return None


def learned(built: Built, system: System, mesh: Mesh) -> Float[Tensor, " rc"]:
    """The same; raises MeasureflowError where no energy is learned or atoms are missing.

    Where only some atoms of a measure that the energy reads were saved, they stand for the whole if all masses are equal, and
    otherwise would give a wrong density.
    """
    thinned = [name for name in built.dynamics.flows if system[name].whole > system[name].size]
    uneven = [name for name in thinned if not bool((system[name].mass == system[name].mass[0]).all())]
    seen = _as_built(system, built)
    try:
        energy = built.view.coupling.energy(seen, built.view.reducer)
    except TypeError as error:
        raise MeasureflowError(f"there is no density: {error}") from None
    missing = [name for name in uneven if energy.reads(seen[name])]
    if missing:
        name, size = missing[0], system[missing[0]].whole
        raise MeasureflowError(
            f"there is no density: the energy reads {name!r}, of whose {size:,} atoms the snapshots keep {system[name].size:,}; "
            f"run again with observers = ['progress', {{kind = 'snapshots', atoms = {size}}}]"
        )
    return _law(energy, mesh, built)


def teacher(built: Built, mesh: Mesh) -> Float[Tensor, " rc"] | None:
    """The mass of each cell under the planted law; None where the data have no teacher."""
    if built.view.truth is None or TEACHER not in built.system:
        return None
    feature, reducer, neurons = built.view.truth.feature, built.view.reducer, built.system[TEACHER]
    value = reducer.field(feature, mesh.points.to(neurons.points), neurons, Need.VALUE).value
    return _softmax(value, mesh)


def _as_built(system: System, built: Built) -> System:
    """The saved measures on the device of the built ones, the whole data among them."""
    moved = {name: scaled_up(_to(system[name], built.system[name])) for name in built.dynamics.flows}
    return System({**built.system.measures, **moved}, system.step, system.time)


def _to(mu: Particles, like: Particles) -> Particles:
    return mu.replace(**{name: getattr(mu, name).to(like.points) for name in ("points", "sign", "log_mass")})


def _law(energy: Potential, mesh: Mesh, built: Built) -> Float[Tensor, " rc"]:
    some = next(iter(built.system.measures.values()))
    return _softmax(energy(mesh.points.to(some.points), Need.VALUE).value, mesh)


def _softmax(value: Float[Tensor, " rc"], mesh: Mesh) -> Float[Tensor, " rc"]:
    return torch.softmax(mesh.log_area - value.double().cpu(), 0)
