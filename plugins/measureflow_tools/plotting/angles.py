"""How far each neuron is from the teacher's: angle against weight, where the weight is, and when it came there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from measureflow.api import MeasureflowError, Particles
from measureflow_tools.analysis.charts import chart_of
from measureflow_tools.analysis.scenes import Scene
from measureflow_tools.plotting.palette import NEGATIVE, POSITIVE
from measureflow_tools.plotting.style import colour, grid, headline, logarithm, spans, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WITHIN = (10, 30, 60)  # degrees


def draw(scene: Scene, name: str) -> Figure:
    """Three panels; raises MeasureflowError where there is no teacher among the neurons."""
    from matplotlib.figure import Figure

    planted = scene.teacher(chart_of(scene.last, name))
    if planted is None:
        raise MeasureflowError(
            f"{scene.run.folder}: no teacher lives in the space of {name!r}, so that there is no angle to one; --what neurons "
            "shows where they are, and data of the kind 'teacher' plant some"
        )
    figure = Figure(figsize=(10.2, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    first, last = scene.systems[0][name], scene.last[name]
    _scatter(left, last, planted)
    _histogram(middle, {f"step {scene.systems[0].step:,}": first, f"step {scene.last.step:,}": last}, planted)
    _shares(right, scene, name, planted)
    headline(figure, f"{scene.run.title}: {last.whole:,} atoms of {name}, angle to the nearest teacher neuron")
    return figure


def nearest(mu: Particles, planted: Particles) -> np.ndarray:
    """Degrees (M,) between each atom and the planted neuron closest in direction."""
    points, centres = (torch.nn.functional.normalize(of.points.double(), dim=1) for of in (mu, planted))
    chord = torch.cdist(points, centres, compute_mode="donot_use_mm_for_euclid_dist").amin(1)  # exact where they all but meet
    return np.degrees(2 * torch.asin((chord / 2).clamp(max=1)).numpy())


def _scatter(axes: Axes, mu: Particles, planted: Particles) -> None:
    mass, degrees = mu.mass.double().numpy(), nearest(mu, planted)
    for sign, paint, word in ((1, POSITIVE, "positive"), (-1, NEGATIVE, "negative")):
        mine = np.sign(mass) == sign
        axes.scatter(degrees[mine], np.abs(mass[mine]), s=16, color=paint, alpha=0.7, linewidths=0, label=f"{word} weight")
    positive = np.abs(mass[mass != 0])
    if len(positive):
        logarithm(axes.yaxis)
        top = float(positive.max())
        axes.set_ylim(max(float(positive.min()), 1e-8 * top) / 2, 2 * top)
    axes.set(title="each neuron at the end", xlabel="angle, degrees", ylabel="mass of the neuron", xlim=(0, None))
    axes.legend()
    grid(axes)


def _histogram(axes: Axes, measures: dict[str, Particles], planted: Particles) -> None:
    """Share of the total variation by angle."""
    angles = {label: nearest(mu, planted) for label, mu in measures.items()}
    top = max(10.0, *(float(values.max()) for values in angles.values()))
    for i, (label, mu) in enumerate(measures.items()):
        weights = mu.mass.abs().double().numpy()
        height, edges = np.histogram(angles[label], 24, (0, top), weights=weights / weights.sum())
        axes.stairs(height, edges, fill=i > 0, color=colour(0) if i else "0.35", alpha=0.75 if i else 1, label=label, zorder=2 - i)
    axes.set(title="where the weight is", xlabel="angle, degrees", ylabel="share of the TV norm", xlim=(0, top))
    axes.legend()
    grid(axes)


def _shares(axes: Axes, scene: Scene, name: str, planted: Particles) -> None:
    """Share of the total variation within some angles, over the snapshots."""
    steps = np.array([system.step for system in scene.systems])
    shares = np.array([_within(system[name], planted) for system in scene.systems])
    log = spans(steps)
    for i, degrees in enumerate(WITHIN):
        axes.plot(steps[log:], shares[log:, i], style(i), color=colour(i), label=f"within {degrees} degrees")
    if log:
        logarithm(axes.xaxis)
    axes.set(title="when it came there", xlabel="iteration", ylabel="share of the TV norm", ylim=(0, 1.03))
    axes.legend()
    grid(axes)


def _within(mu: Particles, planted: Particles) -> list[float]:
    mass, degrees = mu.mass.abs().double().numpy(), nearest(mu, planted)
    return [float(mass[degrees <= most].sum() / mass.sum()) for most in WITHIN]
