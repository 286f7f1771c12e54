"""measureflow report: recorded runs as one page."""

from pathlib import Path

import click

from measureflow.cli import FOLDER
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow_tools.analysis.runs import read_all
from measureflow_tools.report.page import page


@click.command()
@click.argument("folders", metavar="RUN...", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, help="The file to write. Default: report.html in the first run's folder.")
@click.pass_obj
def report(registry: Registry, folders: tuple[Path, ...], out: Path | None) -> None:
    """Writes one HTML file about runs, which works offline.

    It has curves, a replay of the snapshots, config, environment and references.
    """
    target = out or folders[0] / "report.html"
    content = page(read_all(folders, registry), registry).encode()
    write(target, content)
    click.echo(f"{target} ({len(content) / 2**20:.1f} MiB)")
