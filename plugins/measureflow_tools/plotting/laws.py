"""Laws to draw side by side: the teacher's and the student's, as densities or as energies."""

from collections.abc import Iterator
from typing import Literal, final

import attrs
import numpy as np
import torch

from measureflow.api import MeasureflowError, Particles
from measureflow_tools.analysis.charts import Chart
from measureflow_tools.analysis.densities import Mesh, learned, teacher
from measureflow_tools.analysis.scenes import Scene

What = Literal["density", "energy"]


@final
@attrs.frozen(eq=False)
class Law:
    """One law: its name, the value of each cell, the atoms to draw with it."""

    name: str
    values: np.ndarray
    neurons: Particles | None = None
    particles: Particles | None = None
    data: Particles | None = None


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


def laws(scene: Scene, chart: Chart, mesh: Mesh, what: What, *, with_data: bool = True) -> Iterator[Law]:
    """The teacher's, if there is one, and the last snapshot's with its atoms; the data are shown with the teacher's, or else on the
    learned one by themselves. Raises MeasureflowError if no energy is learned.
    """
    built = scene.built()
    planted, data = teacher(built, mesh), scene.data(chart) if with_data else None
    if planted is not None:
        yield Law("teacher", shown(planted, chart, mesh, what), scene.teacher(chart), data=data)
    try:
        mass = learned(built, scene.last, mesh)
    except MeasureflowError as error:
        raise MeasureflowError(f"{scene.run.folder}: {error}") from None
    name = scene.neurons()
    mine = scene.last[name] if name == "gamma" and chart.shows(scene.last[name]) else None
    values = shown(mass, chart, mesh, what)
    if planted is None and data is not None:
        yield Law("data", values, data=data)
    yield Law(f"step {scene.last.step:,}", values, mine, scene.particles(chart))
