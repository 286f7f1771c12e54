"""measureflow figure: a recorded run, drawn for a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from measureflow.api import MeasureflowError
from measureflow.cli import FOLDER
from measureflow.files import check_links
from measureflow.plugins import Registry
from measureflow_plugins.drawing import angles, curves, density, neurons
from measureflow_plugins.drawing.style import FORMATS, look, save
from measureflow_plugins.reading.groups import Group, grouped
from measureflow_plugins.reading.runs import labels, read_all
from measureflow_plugins.reading.scenes import scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHAT = ("curves", "density", "energy", "neurons", "angles")


@click.command()
@click.argument("folders", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option("--what", type=click.Choice(WHAT), default="curves", show_default=True, help="What to draw.")
@click.option("--metric", "metrics", multiple=True, help="A metric among the curves. Default: all that every run has.")
@click.option("--measure", help="The measure drawn by neurons and angles. Default: gamma, or the first that moves.")
@click.option("--out", type=FOLDER, help="The file, .png or .pdf. Default: both, in figures/ of the first RUN.")
@click.pass_obj
def figure(
    registry: Registry, folders: tuple[Path, ...], what: str, metrics: tuple[str, ...], measure: str | None, out: Path | None
) -> None:
    """Draws a run: curves (several runs too), or from its snapshots densities, energies, neurons or their angles."""
    if out is None:
        check_links(folders[0])
    with look():
        drawn = _drawn(registry, folders, what, metrics, measure)
        name = "-".join([what, *metrics, *([f"{len(folders)}-runs"] if len(folders) > 1 else [])])
        for path in [out] if out else [folders[0] / "figures" / f"{name}{ending}" for ending in FORMATS]:
            save(drawn, path)
            click.echo(f"figure {path}")


def _drawn(registry: Registry, folders: tuple[Path, ...], what: str, metrics: tuple[str, ...], measure: str | None) -> Figure:
    runs = read_all(folders, registry)
    if what == "curves":
        groups = grouped(runs, registry) if len(runs) > 1 else [Group(labels(runs)[0], tuple(runs))]
        return curves.draw(groups, metrics)
    if len(runs) > 1:
        raise MeasureflowError(f"--what {what} draws one run, got {len(runs)}; --what curves draws several")
    one = scene(runs[0], registry)
    if what in ("density", "energy"):
        return density.draw(one, "density" if what == "density" else "energy")
    return {"neurons": neurons.draw, "angles": angles.draw}[what](one, one.neurons(measure))
