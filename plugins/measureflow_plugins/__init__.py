"""What ships in the box, through the same door as a third party's plugin."""

import sys
from collections.abc import Iterable

import click

from measureflow.chunked import Chunked
from measureflow.keops import KeOps
from measureflow.plugins import components_in, hookimpl
from measureflow.reduce import Local, Request
from measureflow_plugins.commands.bench import bench


@hookimpl
def components() -> Iterable[type]:
    """Every component class in this package's modules, and the engine's reducers."""
    return [*components_in(sys.modules[__name__]), Chunked, KeOps]


@hookimpl(trylast=True)
def pick_reducer(request: Request) -> Local | None:
    """KeOps for large radial kernels on a GPU, matrix products for everything else."""
    if request.device.type == "cuda" and request.form == "radial" and request.width <= 100:
        return KeOps()
    return Chunked()


@hookimpl
def add_commands(cli: click.Group) -> None:
    cli.add_command(bench)
