"""measureflow reproduce: a published experiment again, and a verdict."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
from rich.console import Console

from measureflow.api import Experiment, MeasureflowError, from_tables
from measureflow.cli import FOLDER, SETTINGS
from measureflow.errors import unknown
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import write
from measureflow_tools.analysis.groups import Group, group
from measureflow_tools.analysis.levels import Comparison, compare
from measureflow_tools.analysis.runs import read
from measureflow_tools.analysis.words import table
from measureflow_tools.studies.study import PAPER, SMALL, ScaleName, Study, members, names
from measureflow_tools.studies.study import read as read_study
from measureflow_tools.studies.verdict import Finding, findings, overall, words
from measureflow_tools.sweeps.cost import seconds, spoken
from measureflow_tools.sweeps.members import Member, Outcome, run_all, save_index
from measureflow_tools.sweeps.report import claim, showing, stopped


@click.command(epilog=f"In the box: {', '.join(names())}.")
@click.argument("name")
@SETTINGS
@click.option("--scale", type=click.Choice([SMALL, PAPER]), default=SMALL, show_default=True, help="paper is meant for a GPU.")
@click.option("--out", type=FOLDER, help="The folder; a study begun in it goes on. Default: runs/reproduce-<name>-<scale>.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1), help="Runs side by side, which share the threads.")
@click.pass_obj
def reproduce(registry: Registry, name: str, settings: tuple[str, ...], scale: ScaleName, out: Path | None, jobs: int) -> None:
    """Runs a published study again and judges what came out.

    Runs the study NAME, which may be a study file, draws it, and says whether its figures lie in the stored bands.
    """
    study, experiment = read_study(name, registry)
    cases = members(study, experiment, scale, settings)
    everyone = [member for several in cases.values() for member in several]
    for member in everyone:
        _measures(study, from_tables(member.tables, registry, member.name))
    folder = out or Path("runs") / f"reproduce-{Path(name).stem}-{scale}"
    claim(folder, "study.toml", "".join(f"# {part}\n" for part in (name, scale, *settings)))
    click.echo(f"{study.title} ({study.source})")
    _announce(cases, seconds(cases, registry), jobs)
    try:
        with showing(study.title, len(everyone), jobs) as see:
            outcomes = run_all(everyone, folder, jobs, see)
    except KeyboardInterrupt:
        stopped(folder)
    save_index(outcomes, folder)
    groups = _groups(cases, outcomes, registry)
    found = findings(study, scale, groups)
    _tell(study, groups, found, folder)
    failed = [outcome for outcome in outcomes if outcome.status != "done"]
    for outcome in failed:
        click.echo(f"{outcome.name}: {outcome.status}: {outcome.error}; see {outcome.folder}.log", err=True)
    if failed or any(finding.inside is False for finding in found):
        sys.exit(1)


def _measures(study: Study, e: Experiment) -> None:
    """Raises MeasureflowError where an experiment does not measure what is drawn or checked."""
    known = [name for probe in e.metrics for name in probe.metric.names]
    wanted = [study.metric, *study.figure, *(name for check in study.checks for name in (check.metric, check.best) if name)]
    for name in wanted:
        if name not in known:
            raise MeasureflowError(f"case {e.name!r} does not measure what the study reads: {unknown('metric', name, known)}")


def _announce(cases: Mapping[str, Sequence[Member]], taken: Mapping[str, float], jobs: int) -> None:
    """What it will take, before it starts."""
    for case, several in cases.items():
        steps = several[0].tables["steps"]
        runs = f"{len(several)} runs of " if len(several) > 1 else ""
        click.echo(f"  {case}: {runs}{steps:,} steps, about {spoken(taken[case])} here")
    click.echo(f"  in all about {spoken(sum(taken.values()))} of work on this device, {jobs} side by side; metrics not counted")


def _groups(cases: Mapping[str, Sequence[Member]], outcomes: Sequence[Outcome], registry: Registry) -> dict[str, Group]:
    """By case, the runs that are done."""
    done = {outcome.name: Path(outcome.folder) for outcome in outcomes if outcome.status == "done"}
    runs = {
        case: [read(done[member.name], registry) for member in several if member.name in done] for case, several in cases.items()
    }
    return {case: group(case, several, registry) for case, several in runs.items() if several}


def _tell(study: Study, groups: Mapping[str, Group], found: list[Finding], folder: Path) -> None:
    """Prints table, words and verdict; draws the figure; writes all of it to verdict.json."""
    lines = [words(finding) for finding in found]
    said: list[str] = []
    if groups:
        comparison = compare(list(groups.values()), study.metric, study.levels)
        if len(groups) > 1 and comparison.levels:
            Console(width=None if sys.stdout.isatty() else 160).print(table(comparison))
            said = list(comparison.notes)
        for path in _draw(study, comparison, list(groups.values()), folder):
            click.echo(f"figure {path}")
    for line in (*said, *lines, overall(found)):
        click.echo(line)
    facts: list[dict[str, Any]] = [{**attrs.asdict(finding), "inside": finding.inside} for finding in found]
    record = {"title": study.title, "source": study.source, "findings": facts, "notes": said, "verdict": overall(found)}
    write(folder / "verdict.json", json.dumps(record, indent=1).encode())


def _draw(study: Study, comparison: Comparison, groups: Sequence[Group], folder: Path) -> list[Path]:
    """The study's metric on every clock, and its figure as the paper lays it out."""
    from measureflow_tools.plotting import comparison as clocks
    from measureflow_tools.plotting import curves
    from measureflow_tools.plotting.style import look, save

    with look():
        drawn = {folder / "comparison.png": clocks.draw(comparison), folder / "curves.png": curves.draw(groups, study.figure)}
        for path, figure in drawn.items():
            save(figure, path)
    return list(drawn)
