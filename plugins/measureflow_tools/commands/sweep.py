"""measureflow sweep: one experiment at many settings and seeds, in one folder."""

import sys
import time
from pathlib import Path

import click
from rich.console import Console

from measureflow.cli import FOLDER, SETTINGS
from measureflow.plugins.registry import Registry
from measureflow_tools.sweeps import grid
from measureflow_tools.sweeps.cost import announced
from measureflow_tools.sweeps.members import outcome, run_all, save_index
from measureflow_tools.sweeps.report import claim, showing, stopped, table
from measureflow_tools.sweeps.tables import split


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--out", type=FOLDER, help="The folder; that of the same sweep is gone on with. Default: runs/<stamp>-<name>.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Runs at one time; they share the threads.")
@click.pass_obj
def sweep(registry: Registry, file: Path, settings: tuple[str, ...], out: Path | None, jobs: int) -> None:
    """Runs an experiment at every seed and point of a grid.

    The seeds and the grid are in the table [sweep] of FILE.
    """
    own, tables, given = split(file, settings, "sweep")
    members = grid.members(own, tables, registry, str(file))
    name = members[0].tables["name"]
    folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    claim(folder, "sweep.toml", given)
    left = [member for member in members if outcome(member, folder).status != "done"]
    if left:
        click.echo(announced(left[0].tables, registry, len(left), jobs), err=True)
    try:
        with showing(name, len(members), jobs) as see:
            outcomes = run_all(members, folder, jobs, see)
    except KeyboardInterrupt:
        save_index([outcome(member, folder) for member in members], folder)
        stopped(folder)
    save_index(outcomes, folder)
    Console().print(table(outcomes, name))
    click.echo(f"recorded in {folder}")
    undone = [each for each in outcomes if each.status != "done"]
    for each in undone:
        click.echo(f"{each.name} {each.status}, see {each.folder}.log: {each.error}", err=True)
    if undone:
        click.echo(f"{len(undone)} of {len(members)} not done; the same command with --out {folder} tries them again", err=True)
        sys.exit(1)
