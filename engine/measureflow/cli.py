"""The command line: run, resume, check, show, plugins, and what plugins add."""

import copy
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from measureflow.config import structure as config
from measureflow.config.memory import device_of, footprint
from measureflow.config.rehearsal import rehearse
from measureflow.config.validate import load
from measureflow.core.measure import System
from measureflow.core.schedule import LONGEST
from measureflow.errors import LostError, MeasureflowError, printable
from measureflow.opening import read_text
from measureflow.parallel.torchrun import joined, launched, leads, restarted, settle, speaks
from measureflow.plugins.registry import Registry, installed
from measureflow.plugins.registry import load as load_plugins
from measureflow.plugins.selection import Choice
from measureflow.run import runner as record
from measureflow.run.attribution import blamed
from measureflow.run.events import read_events, told
from measureflow.run.metrics_log import read_metrics

FOLDER = click.Path(path_type=Path)
SHARED = ("run", "resume")  # the commands that torchrun's processes do together
SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change one key, as in measures.gamma.flows.0.rate=5.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="measureflow")
@click.option("--no-plugins", is_flag=True, help="Load no plugin besides the box.")
@click.option("--block", multiple=True, metavar="NAME", help="Do not load this plugin: an entry point or a distribution.")
@click.option("--traceback", is_flag=True, envvar="MEASUREFLOW_TRACEBACK", help="Where a component fails, show the traceback.")
def cli(**_: object) -> None:  # `main` reads these options: a plugin that adds commands is loaded before they are parsed
    """Simulates gradient flows of measures with particles."""


@cli.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--out", type=FOLDER, help="The run folder; it must not exist. Default: runs/<stamp>-<name>.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_obj
def run(registry: Registry, file: Path, settings: tuple[str, ...], out: Path | None, quiet: bool) -> None:
    """Runs the experiment in FILE and records it in a new folder."""
    experiment = load(file, registry, settings)
    folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(launched()))}-{experiment.name}"
    given = read_text(file) + "".join(f"# --set {setting}\n" for setting in settings)

    def work(asked: record.Asked) -> System:
        if asked.team.led(lambda: str(asked.again and record.began(asked.folder, given))) == "True":
            return record.resume(registry, asked)
        return record.start(experiment, registry, asked, given, str(file))

    _recorded(work, folder, quiet)


@cli.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option(
    "--steps",
    type=click.IntRange(1, LONGEST),
    help="The step to go on to, counted from the run's start. Default: as configured.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_obj
def resume(registry: Registry, folder: Path, steps: int | None, quiet: bool) -> None:
    """Continues a run from its newest checkpoint."""
    _recorded(lambda asked: record.resume(registry, asked, steps), folder, quiet)


@cli.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.pass_obj
def check(registry: Registry, file: Path, settings: tuple[str, ...]) -> None:
    """Checks an experiment without running it.

    Builds it and tries its first step, if it is small, to refuse what `run` would refuse. Prints FILE with every default
    filled in, its sizes and its memory.
    """
    experiment = load(file, registry, settings)
    tried = rehearse(experiment, registry, str(file))
    click.echo(config.dumps(config.unstructure(experiment)))
    parts = footprint(experiment)
    for name, (atoms, d, size) in parts.items():
        click.echo(f"# {name}: {atoms:,} atoms in d = {d}, about {size / 2**20:,.1f} MiB")
    click.echo(f"# in all about {sum(size for *_, size in parts.values()) / 2**20:,.1f} MiB on {device_of(experiment)}")
    click.echo(f"# {tried}")


@cli.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.pass_obj
def show(registry: Registry, folder: Path) -> None:
    """Prints the last metrics of a run and where its figures are."""
    experiment = record.recorded(folder, registry)
    rows = read_metrics(folder)
    last: dict[str, float] = {}
    for row in rows:
        last |= row
    click.echo(f"{experiment.name}: step {int(last.get('step', 0))} of {experiment.steps}, {last.get('seconds', 0.0):.1f} s")
    for name, value in last.items():
        if name not in ("step", "seconds"):
            click.echo(f"  {name:<24} {value:.6g}")
    for event in read_events(folder):
        click.echo(f"  {told(event)}")
    for figure in sorted((folder / "figures").glob("*")):
        click.echo(printable(f"  figure {figure}"))


@cli.command()
@click.pass_obj
def plugins(registry: Registry) -> None:
    """Lists every component and the plugin it comes from."""
    width = max(len(kind) for _, kind in registry.components)
    family = ""
    for known, kind in sorted(registry.components):
        if known != family:
            family = known
            click.echo(family)
        click.echo(f"  {kind:<{width}}  {registry.origins[known, kind]}")


def _recorded(work: Callable[[record.Asked], System], folder: Path, quiet: bool) -> None:
    """Does the work of a run, in each of the processes that torchrun started; says where it went, or after Ctrl-C how to go on."""
    whole = folder.absolute()  # a component may change the working folder
    try:
        with joined() as team:
            folder = Path(team.led(lambda: str(folder)))
            whole = folder.absolute()
            with _as_given(folder):
                last = work(record.Asked(folder, quiet, team, restarted()))
    except LostError as error:
        on = f"; go on with: measureflow resume {folder}" if (whole / "resolved.toml").exists() else ""
        raise LostError(f"{error}{on}") from None
    except KeyboardInterrupt:
        if not speaks():
            sys.exit(130)
        on = f"go on with: measureflow resume {folder}" if (whole / "resolved.toml").exists() else "nothing was recorded yet"
        click.echo(f"stopped; {on}", err=True)
        sys.exit(130)
    if team.leads and not quiet:
        click.echo(f"step {last.step} reached; recorded in {folder}")
        for figure in sorted((whole / "figures").glob("*")):
            click.echo(printable(f"figure {folder / figure.relative_to(whole)}"))


@contextmanager
def _as_given(folder: Path) -> Iterator[None]:
    """Names the run folder in errors as the user did, not by its absolute path."""
    whole = re.compile(rf"{re.escape(str(folder.absolute()))}(?![\w.-])")
    try:
        yield
    except MeasureflowError as error:
        error.args = (whole.sub(lambda _: str(folder), str(error)),)
        raise


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: what a user can mend ends with exit code 2, a message and no traceback."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _main(given)
    except KeyboardInterrupt:  # before a command listens for it
        sys.exit(130)


def _main(given: list[str]) -> None:
    options = cli.make_context("measureflow", list(given), resilient_parsing=True).params
    settle()
    try:
        if "--no-plugins" in given and not options["no_plugins"]:  # `click` would say so too late, when plugins are loaded
            raise MeasureflowError("--no-plugins: give it before the command, as in `measureflow --no-plugins run FILE`")
        choice = Choice.given(options["block"], options["no_plugins"])
        with choice.handed_on(installed()):
            _called(given, load_plugins(choice=choice), options["traceback"])
    except MeasureflowError as error:
        if speaks():
            click.echo(f"error: {printable(str(error))}", err=True)
        sys.exit(2)


def _called(arguments: list[str], registry: Registry, traceback: bool) -> None:
    """Does what the arguments say; a failure in a component ends with exit code 1 and the component's name."""
    group = copy.copy(cli)
    group.commands = dict(cli.commands)
    warnings = [f"{name} was not loaded: {why}" for name, why in registry.broken.items()]
    warnings += [f"{name}: {why}" for name, why in registry.add_commands(group).items()]
    for text in warnings if leads() else ():
        click.echo(f"warning: plugin {text}", err=True)
    if not leads() and next((word for word in arguments if word in group.commands), None) not in SHARED:
        sys.exit(0)  # the first process does it, and writes and says it once
    try:
        group.main(arguments, prog_name="measureflow", obj=registry)
    except MeasureflowError:
        raise
    except Exception as error:
        who = None if traceback else blamed(error, registry)
        if who is None and not traceback and isinstance(error, OSError) and error.filename is not None:
            raise MeasureflowError(f"{error.filename}: cannot be reached ({error.strerror})") from None
        if who is None:
            raise
        if speaks():
            click.echo(f"error: {who}; `measureflow --traceback` before the command shows all of it", err=True)
        sys.exit(1)
