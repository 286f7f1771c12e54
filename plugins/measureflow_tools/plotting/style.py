"""How every drawing looks: colours, labels, axes, and how it is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measureflow.api import MeasureflowError
from measureflow.run.atomic import make, write
from measureflow_plugins.observers._drawable import literal
from measureflow_tools.plotting.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


STYLES = ("-", "--", "-.", ":")  # tell lines apart in black and white
DPI = 200
FORMATS = (".png", ".pdf")
LOOK: dict[str, Any] = {
    "pdf.fonttype": 42, "font.size": 9.0, "axes.titlesize": 10.0, "axes.labelsize": 9.0, "legend.fontsize": 8.5,
    "xtick.labelsize": 8.0, "ytick.labelsize": 8.0, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "lines.linewidth": 1.6, "axes.linewidth": 0.8,
}  # fmt: skip


def look() -> Any:
    """A context in which figures are made and written, whatever a matplotlibrc says; text in a PDF stays text."""
    from matplotlib.style import context

    return context(["default", LOOK])


def colour(i: int) -> str:
    """The colour of the i-th of several things."""
    return PALETTE[i % len(PALETTE)]


def style(i: int) -> str:
    """The line style of the i-th of several things: another when the colours begin again."""
    return STYLES[(i // len(PALETTE) + i) % len(STYLES)]


def spans(x: np.ndarray) -> bool:
    """Whether times span a decade beyond 0, so that a logarithmic axis shows them better."""
    beyond = x[x > 0]
    return len(beyond) > 2 and bool(beyond.max() >= 10 * beyond.min())


def logarithm(axis: Axis) -> None:
    """Makes an axis logarithmic, labelled at decades; within two of them at 1, 2, 5 and within less at even steps."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    low, high = axis.get_view_interval()
    axis.set_minor_formatter(NullFormatter())
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 5 * low else MaxNLocator(4))
        axis.set_major_formatter("{x:g}")


def headline(figure: Figure, text: str) -> None:
    """A figure's title: bold and at the left, so that it does not read as the title of the panel below it."""
    figure.suptitle(literal(text), x=0.01, ha="left", fontweight="bold")


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
