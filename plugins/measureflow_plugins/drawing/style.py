"""How every drawing looks: colours, labels, axes, and how it is written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measureflow.api import MeasureflowError
from measureflow.files import make, write
from measureflow_plugins.observers.curves import LINEAR, TITLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter


# Okabe and Ito's colours, which the colour-blind tell apart; the styles do so in black and white
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
POSITIVE, NEGATIVE = "#C1272D", "#0072B2"  # a neuron's sign
DPI = 200
FORMATS = (".png", ".pdf")
LOOK: dict[str, Any] = {
    "pdf.fonttype": 42, "font.size": 9.0, "axes.titlesize": 10.0, "axes.labelsize": 9.0, "legend.fontsize": 8.5,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "lines.linewidth": 1.6, "axes.linewidth": 0.8,
}  # fmt: skip


def look() -> Any:
    """A context in which figures are made and written; text in a PDF stays text."""
    import matplotlib as mpl

    return mpl.rc_context(LOOK)


def colour(i: int) -> str:
    """The colour of the i-th of several things."""
    return PALETTE[i % len(PALETTE)]


def style(i: int) -> str:
    """The line style of the i-th of several things: another when the colours begin again."""
    return STYLES[(i // len(PALETTE) + i) % len(STYLES)]


def title(metric: str) -> str:
    """A metric's name as a figure shows it."""
    return TITLES.get(metric, metric)


def logarithmic(metric: str, values: Sequence[np.ndarray]) -> bool:
    """Whether a metric's axis is logarithmic: where all is positive and no bound is to be seen against."""
    return metric.split(".")[0] not in LINEAR and all(bool((part[np.isfinite(part)] > 0).all()) for part in values)


def _plain(**options: Any) -> LogFormatter:
    """A formatter that writes 0.5 where matplotlib's writes 5e-01, and leaves out the labels that that one leaves out."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return Plain(**options)


def spans(x: np.ndarray) -> bool:
    """Whether times span a decade beyond 0, so that a logarithmic axis shows them better."""
    beyond = x[x > 0]
    return len(beyond) > 2 and bool(beyond.max() >= 10 * beyond.min())


def logarithm(axis: Axis) -> None:
    """Makes an axis logarithmic; ticks within one decade are written out."""
    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    low, high = axis.get_view_interval()
    if high < 30 * low:
        axis.set_major_formatter(_plain())
        axis.set_minor_formatter(_plain(labelOnlyBase=False, minor_thresholds=(2.0, 0.5)))


def grid(axes: Axes) -> None:
    """Thin lines behind everything."""
    axes.grid(which="major", color="0.88", linewidth=0.7)
    axes.set_axisbelow(True)


def below(figure: Figure, axes: Axes, columns: int) -> None:
    """One legend for the whole figure, under it, of what is drawn in `axes`."""
    handles, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        figure.legend(handles, names, loc="outside lower center", ncols=max(1, min(columns, len(names))))


def save(figure: Figure, path: Path) -> None:
    """Writes a figure whole, in the format of the path's ending; raises MeasureflowError for another than .png and .pdf."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise MeasureflowError(f"{path}: a figure ends with {' or '.join(FORMATS)}")
    image = io.BytesIO()
    dates = {"CreationDate": None} if ending == ".pdf" else {}  # the same figure, the same bytes
    figure.savefig(image, dpi=DPI, format=ending[1:], metadata=dates)
    make(path.parent)
    write(path, image.getvalue())
