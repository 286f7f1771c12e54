"""What ships in the box, through the same door as a third party's plugin."""

import sys
from collections.abc import Iterable

import click

from measureflow.chunked import Chunked
from measureflow.keops import KeOps
from measureflow.plugins import components_in, hookimpl
from measureflow.reduce import Local, Request
from measureflow_plugins.commands.bench import bench
from measureflow_plugins.commands.check_plugin import check_plugin
from measureflow_plugins.commands.compare import compare_runs
from measureflow_plugins.commands.error import error
from measureflow_plugins.commands.explain import explain
from measureflow_plugins.commands.figure import figure
from measureflow_plugins.commands.film import film
from measureflow_plugins.commands.report import report
from measureflow_plugins.commands.reproduce import reproduce
from measureflow_plugins.commands.search import search
from measureflow_plugins.commands.sweep import sweep
from measureflow_plugins.commands.tune import tune
from measureflow_plugins.planning.planner import planner


@hookimpl
def components() -> Iterable[type]:
    """Every component class in this package's modules, and the engine's reducers."""
    return [*components_in(sys.modules[__name__]), Chunked, KeOps]


@hookimpl(trylast=True)
def pick_reducer(request: Request) -> Local | None:
    """What the measured costs say is fastest."""
    return planner(request.device.type).plan(request).reducer


@hookimpl
def add_commands(cli: click.Group) -> None:
    for command in (bench, check_plugin, compare_runs, error, explain, figure, film, report, reproduce, search, sweep, tune):
        cli.add_command(command)
