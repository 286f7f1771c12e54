"""What matplotlib can draw: text without its markup, and numbers that leave room for its arithmetic."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LARGEST = 1e100  # axes take differences and powers of what they show, which overflow for the largest floats


def literal(text: str) -> str:
    """Text of a user for matplotlib: a dollar starts no formula, and a leading underscore hides no legend entry."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def bounded(values: np.ndarray) -> np.ndarray:
    """The values, those beyond 1e100 in absolute value as infinities, which are drawn as gaps."""
    return np.where(np.abs(values) > LARGEST, np.copysign(np.inf, values), values)


def bars(errors: np.ndarray) -> np.ndarray:
    """Lengths of error bars: NaN, which draws none, for an error that is negative or beyond 1e100."""
    return np.where((errors >= 0) & (errors <= LARGEST), errors, np.nan)


def note(axes: Axes, text: str) -> None:
    """Writes a sentence in place of a panel."""
    axes.set_axis_off()
    axes.text(0, 1, literal(textwrap.fill(text, 40)), va="top", fontsize="small", transform=axes.transAxes)
