"""measureflow figure: a recorded run, drawn for a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

import attrs
import click

from measureflow.api import MeasureflowError
from measureflow.cli import FOLDER
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import check_links
from measureflow_tools.analysis.groups import Group, grouped
from measureflow_tools.analysis.runs import labels, read_all
from measureflow_tools.analysis.scenes import scene
from measureflow_tools.plotting import angles, curves, density, neurons
from measureflow_tools.plotting.style import FORMATS, look, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHAT = ("curves", "density", "energy", "neurons", "angles")


@click.command()
@click.argument("folders", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option("--what", type=click.Choice(WHAT), default="curves", show_default=True, help="What to draw.")
@click.option("--metric", "metrics", multiple=True, help="A metric among the curves. Default: all that every run has.")
@click.option("--measure", help="The measure drawn by neurons and angles. Default: gamma, or the first that moves.")
@click.option("--data/--no-data", "with_data", default=True, help="Show the data in densities and energies.  [default: data]")
@click.option(
    "--range",
    "half_width",
    type=click.FloatRange(0, min_open=True),
    help="Half the width of the plane's window. Default: to fit the data.",
)
@click.option("--step", type=click.IntRange(0), help="The snapshot's step. Default: the last.")
@click.option("--out", type=FOLDER, help="The file, .png or .pdf. Default: both, in figures/ of the first RUN.")
@click.pass_obj
def figure(
    registry: Registry, folders: tuple[Path, ...], what: str, metrics: tuple[str, ...], out: Path | None, **look_of_it: Any
) -> None:
    """Draws curves, densities, energies or neurons of a run.

    Curves of several runs are drawn together; densities, energies, neurons and their angles come from the snapshots of one.
    """
    if out is None:
        check_links(folders[0])
    with look():
        drawn = _drawn(registry, folders, what, metrics, View(**look_of_it))
        name = "-".join([what, *metrics, *([f"{len(folders)}-runs"] if len(folders) > 1 else [])])
        for path in [out] if out else [folders[0] / "figures" / f"{name}{ending}" for ending in FORMATS]:
            save(drawn, path)
            click.echo(f"figure {path}")


@final
@attrs.frozen
class View:
    """What of a run's snapshots is drawn."""

    measure: str | None
    with_data: bool
    half_width: float | None
    step: int | None


def _drawn(registry: Registry, folders: tuple[Path, ...], what: str, metrics: tuple[str, ...], view: View) -> Figure:
    runs = read_all(folders, registry)
    if what not in ("density", "energy") and view.half_width is not None:
        raise MeasureflowError(f"--range is the window of a density or an energy; --what {what} has none")
    if what == "curves":
        if view.step is not None:
            raise MeasureflowError("--step picks a snapshot; curves show every step that was measured")
        groups = grouped(runs, registry) if len(runs) > 1 else [Group(labels(runs)[0], tuple(runs))]
        return curves.draw(groups, metrics)
    if len(runs) > 1:
        raise MeasureflowError(f"--what {what} draws one run, got {len(runs)}; --what curves draws several")
    one = scene(runs[0], registry).at(view.step)
    if what in ("density", "energy"):
        kind: Literal["density", "energy"] = "density" if what == "density" else "energy"
        return density.draw(one, kind, with_data=view.with_data, half_width=view.half_width)
    return {"neurons": neurons.draw, "angles": angles.draw}[what](one, one.neurons(view.measure))
