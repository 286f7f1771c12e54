"""Commands that work on experiments and recorded runs: a plugin of its own, beside the components."""

import click

from measureflow.plugins.registry import hookimpl
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
def add_commands(cli: click.Group) -> None:
    for command in (bench, check_plugin, compare_runs, error, explain, figure, film, report, reproduce, search, sweep, tune):
        cli.add_command(command)
