"""measureflow search: the settings under which a metric ends lowest."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import attrs
import click
from rich.console import Console

from measureflow.api import MeasureflowError, from_tables
from measureflow.cli import FOLDER, SETTINGS
from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.errors import unknown
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow_plugins.extras import needed
from measureflow_tools.sweeps.cost import announced
from measureflow_tools.sweeps.members import Member, Outcome, outcome, run_all, save_index
from measureflow_tools.sweeps.ranges import Range, ranges
from measureflow_tools.sweeps.report import claim, showing, stopped, table
from measureflow_tools.sweeps.tables import split
from measureflow_tools.sweeps.trials import Settings, best, judged, recorded, suggested


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--metric", required=True, help="Whose median over the last tenth of its rows is to be least, as in kl.")
@click.option("--trials", default=20, show_default=True, type=click.IntRange(1), help="Runs in all, earlier ones included.")
@click.option("--out", type=FOLDER, help="The folder; that of the same search is gone on with. Default: runs/<stamp>-<name>.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Runs at one time; they share the threads.")
@click.pass_obj
def search(
    registry: Registry, file: Path, settings: tuple[str, ...], metric: str, trials: int, out: Path | None, jobs: int
) -> None:
    """Looks for the settings under which a metric ends lowest.

    The ranges of the settings of FILE are in its table [search].
    """
    needed("optuna", "measureflow search", "search")
    own, tables, given = split(file, settings, "search")
    space = ranges(own, tables, registry, str(file))
    first = config.changes(tables, {path: each.ends[0] for path, each in space.items()})
    _known(metric, first, registry)
    folder = out or Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{first['name']}"
    claim(folder, "search.toml", f"{given}# --metric {metric}\n")
    looking = Search(space, tables, folder, metric, f"last {metric}", first.get("seed", 0))
    left = trials - len(over({each.name: each for each in recorded(folder, space)}))
    if left > 0:
        click.echo(announced(first, registry, left, jobs), err=True)
    try:
        with showing(first["name"], trials, jobs, looking.of) as see:
            outcomes = looking.run(trials, jobs, see)
    except KeyboardInterrupt:
        stopped(folder)
    Console().print(table(outcomes, first["name"]))
    _tell(looking, outcomes)


def _known(metric: str, tables: Raw, registry: Registry) -> None:
    """Raises MeasureflowError where the experiment does not measure it."""
    names = [name for probe in from_tables(tables, registry).metrics for name in probe.metric.names]
    if metric not in names:
        raise MeasureflowError(f"--metric: {unknown('metric of this experiment', metric, names)}")


@final
@attrs.frozen(eq=False)
class Search:
    """A search in a folder: trials are members named by their number, and index.json has them all, begun ones too."""

    space: Mapping[str, Range]
    tables: Raw
    folder: Path
    metric: str
    of: str
    seed: int

    def run(self, trials: int, jobs: int, see: Callable[[Outcome], object]) -> list[Outcome]:
        """Goes on to so many trials in all; the outcome of each. Raises MeasureflowError if one did not run to its end."""
        found = {each.name: each for each in recorded(self.folder, self.space)}
        for each in over(found):
            see(each)
        while len(over(found)) < trials:
            begun = [self._member(each.name, each.settings) for each in found.values() if each.status == "missing"]
            batch = begun or self._next(over(found), min(jobs, trials - len(found)))
            found |= {member.name: attrs.evolve(outcome(member, self.folder), status="missing") for member in batch}
            save_index(list(found.values()), self.folder)
            ended = run_all(batch, self.folder, jobs, lambda each: see(judged(each, self.metric, self.of)))
            found |= {each.name: judged(each, self.metric, self.of) for each in ended}
            save_index(list(found.values()), self.folder)
            self._check(ended)
        return list(found.values())

    def _check(self, ended: Sequence[Outcome]) -> None:
        """What did not run to its end says nothing about its settings, and must not count as a trial."""
        for each in ended:
            if each.status == "missing":
                raise MeasureflowError(
                    f"{each.name}: did not run to its end ({each.error}); the same command with --out {self.folder} goes on"
                )

    def _next(self, past: Sequence[Outcome], count: int) -> list[Member]:
        drawn = suggested(self.space, past, count, self.seed, self.of)
        return [self._member(f"trial-{len(past) + i:04d}", settings) for i, settings in enumerate(drawn)]

    def _member(self, name: str, settings: Settings) -> Member:
        return Member.of(name, self.tables, settings)


def over(found: Mapping[str, Outcome]) -> list[Outcome]:
    """The trials that have ended, well or not."""
    return [each for each in found.values() if each.status != "missing"]


def _tell(looking: Search, outcomes: Sequence[Outcome]) -> None:
    """Writes best.toml and says what it is; raises MeasureflowError where there is none."""
    found = best(outcomes, looking.of)
    if found is None:
        raise MeasureflowError(f"all {len(outcomes)} trials failed, the last by: {outcomes[-1].error}")
    path = looking.folder / "best.toml"
    write(path, config.dumps(config.changes(looking.tables, found.settings)).encode())
    click.echo(f"best: {found.name} with {looking.of} = {found.metrics[looking.of]:.6g}")
    for name, value in found.settings.items():
        click.echo(f"  {name} = {value}")
    click.echo(f"measureflow run {path}")
