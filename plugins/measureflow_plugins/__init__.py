"""What ships in the box, through the same door as a third party's plugin."""

import sys
from collections.abc import Iterable

import click

from measureflow.plugins.registry import components_in, hookimpl
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request
from measureflow_plugins.reducers.autotune.planner import planner
from measureflow_plugins.reducers.keops import KeOps
from measureflow_tools.commands.bench import bench
from measureflow_tools.commands.check_plugin import check_plugin
from measureflow_tools.commands.compare import compare_runs
from measureflow_tools.commands.error import error
from measureflow_tools.commands.explain import explain
from measureflow_tools.commands.figure import figure
from measureflow_tools.commands.film import film
from measureflow_tools.commands.report import report
from measureflow_tools.commands.reproduce import reproduce
from measureflow_tools.commands.search import search
from measureflow_tools.commands.sweep import sweep
from measureflow_tools.commands.tune import tune


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
