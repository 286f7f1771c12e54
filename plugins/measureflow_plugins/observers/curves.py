"""The figure of the paper: metrics against iterations."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, final

import attrs
import numpy as np

from measureflow.observe.observer import Observer, See, Shows, Stage
from measureflow.run.atomic import make, write
from measureflow.run.metrics_log import read_metrics
from measureflow_plugins.observers._drawable import bars, bounded, literal, note
from measureflow_plugins.observers._panels import Panel, error_of, fitted, heading, logarithmic, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3


@final
@attrs.frozen
class Curves(Observer):
    """Draws every metric against the iteration into figures/curves.png when the run ends.

    Metrics that begin alike, such as `energy.nu` and `energy.data`, share a panel; `nll.error` is drawn as the error bars of `nll`,
    other parts are left out. `only` names the metrics to draw, each in a panel of its own.
    """

    kind: ClassVar[str] = "curves"
    shows: ClassVar[Shows] = "clock"
    only: tuple[str, ...] | None = None

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        try:
            yield lambda system, row: None
        finally:
            rows = read_metrics(stage.folder)
            chosen = [Panel(name, (name,)) for name in self.only] if self.only else panels(_names(rows), stage.metrics)[0]
            if chosen:
                draw(rows, stage.folder / "figures" / "curves.png", heading(stage.name, stage.folder), chosen)


def _names(rows: Sequence[dict[str, float]]) -> list[str]:
    """Names of the metrics measured."""
    return list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds")))


def draw(rows: Sequence[dict[str, float]], path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Draws the metrics of `rows` in these panels, at least one, whatever a matplotlibrc says."""
    from matplotlib.style import context

    with context("default"):
        _draw(rows, path, title, panels)


def _draw(rows: Sequence[dict[str, float]], path: Path, title: str, panels: Sequence[Panel]) -> None:
    from matplotlib.figure import Figure

    chosen, rest = fitted(panels)
    count = len(chosen) + bool(rest)
    columns = min(COLUMNS, count)
    rows_of_panels = -(-count // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows_of_panels + 0.3), layout="constrained")
    figure.suptitle(literal(title), x=0.01, ha="left", fontweight="bold")  # apart from the panel titles, which are centred
    places = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    for axes in places[count:]:
        axes.remove()
    for axes, panel in zip(places, chosen, strict=False):
        _panel(axes, panel, rows)
    if rest:
        note(places[len(chosen)], rest)
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format="png")
    make(path.parent)
    write(path, image.getvalue())


def _panel(axes: Axes, panel: Panel, rows: Sequence[dict[str, float]]) -> None:
    values = []
    for metric in panel.metrics:
        measured = [row for row in rows if metric in row]
        values.append(bounded(np.array([row[metric] for row in measured], dtype=float)))
        steps, error = [row["step"] for row in measured], [row.get(error_of(metric), 0.0) for row in measured]
        look = {"yerr": bars(np.array(error, dtype=float)), "elinewidth": 0.8, "capsize": 2} if any(error) else {}
        axes.errorbar(steps, values[-1], label=literal(panel.label(metric)), **look)
    axes.set(title=literal(panel.title), xlabel="iteration")
    if logarithmic(panel.name, values):
        axes.set_yscale("log")
    if len(panel.metrics) > 1:
        axes.legend()
    axes.grid(alpha=0.3)
