"""Atoms on a page: particles as dots, neurons by sign and weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from measureflow.api import Particles
from measureflow_tools.plotting.pages import Page, thinned
from measureflow_tools.plotting.palette import DATA, NEGATIVE, PARTICLES, POSITIVE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


DOTS = 1500  # particles drawn
LARGEST = 400  # neurons drawn: those of most weight
ARROW = 0.36  # the longest arrow, by the globe's radius


def particles(axes: Axes, page: Page, mu: Particles) -> None:
    """Small dots; atoms of no mass and those out of sight are left out."""
    _dots(axes, page, mu, PARTICLES, 4)


def data(axes: Axes, page: Page, mu: Particles) -> None:
    """The same in black, below everything else."""
    _dots(axes, page, mu, DATA, 3)


def _dots(axes: Axes, page: Page, mu: Particles, paint: str, height: int) -> None:
    few = thinned(mu, DOTS)
    xy, seen = page.place(few.points)
    seen &= few.mass.cpu().numpy() != 0
    size = 14 if len(few.points) < 400 else 6 if len(few.points) < 1200 else 4
    axes.scatter(*xy[seen].T, s=size, color=paint, alpha=0.55, linewidths=0, zorder=height)


def neurons(axes: Axes, page: Page, mu: Particles, heaviest: float) -> None:
    """Orange for a positive mass, blue for a negative one; area, and on the globe an arrow's length, by the share of `heaviest`."""
    mass = mu.mass.double().cpu().numpy()
    rows = np.argsort(-np.abs(mass))[:LARGEST]
    xy, seen = page.place(mu.points)
    rows = rows[seen[rows]]
    share = np.abs(mass[rows]) / heaviest if heaviest > 0 else np.zeros(len(rows))
    colours = np.where(mass[rows] > 0, POSITIVE, NEGATIVE)
    globe = page.view is not None
    size = 4 + (24 if globe else 110 * min(1.0, 80 / max(len(rows), 1))) * share
    axes.scatter(*xy[rows].T, s=size, c=colours, alpha=0.85, edgecolors="white", linewidths=0.4, zorder=6)
    if globe and len(rows):
        long = np.flatnonzero(share > 0.02)
        tip = ARROW * share[long, None] * xy[rows[long]]
        axes.quiver(
            *xy[rows[long]].T, *tip.T, color=colours[long], angles="xy", scale_units="xy", scale=1, width=0.008,
            headwidth=3.2, headlength=3.6, headaxislength=3.4, zorder=7,
        )  # fmt: skip


def teacher(axes: Axes, page: Page, mu: Particles) -> None:
    """Where the planted neurons are: open triangles, the sign by colour."""
    xy, seen = page.place(mu.points)
    colours = np.where(mu.mass.cpu().numpy() > 0, POSITIVE, NEGATIVE)[seen]
    axes.scatter(*xy[seen].T, s=95, marker="^", facecolors="none", edgecolors=colours, linewidths=1.5, zorder=8)


def key(*, dots: bool, signs: bool, planted: bool, seen: bool = False) -> list[Line2D]:
    """What a legend says of the atoms drawn."""
    from matplotlib.lines import Line2D

    look = {"linestyle": "", "markeredgewidth": 0}
    known = [(seen, DATA, "data"), (dots, PARTICLES, "particles")]
    entries = [Line2D([], [], marker="o", color=paint, markersize=4, label=label, **look) for drawn, paint, label in known if drawn]
    if signs:
        entries += [
            Line2D([], [], marker="o", color=paint, markersize=6, label=f"{sign} weight", **look)
            for sign, paint in (("positive", POSITIVE), ("negative", NEGATIVE))
        ]
    if planted:
        entries.append(Line2D([], [], marker="^", color="none", markeredgecolor="0.3", markersize=8, label="teacher's neuron"))
    return entries


def heaviest(*measures: Particles) -> float:
    """The largest mass of an atom, in absolute value."""
    return max(float(mu.mass.abs().max()) for mu in measures)
