"""measureflow explain: what evaluates each sum of a step, why, and what it costs."""

import functools
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import attrs
import click

from measureflow.api import MeasureflowError, advance, build, load
from measureflow.cli import FOLDER, SETTINGS
from measureflow.core.feature import Feature
from measureflow.plugins.registry import Registry
from measureflow.reduction.reducer import Local, Request, Served, Work
from measureflow_plugins.reducers.autotune.candidates import Candidate, candidates
from measureflow_plugins.reducers.autotune.clock import timed
from measureflow_plugins.reducers.autotune.costs import what
from measureflow_plugins.reducers.autotune.planner import planner
from measureflow_tools.analysis.peak import Peak
from measureflow_tools.analysis.timing import through

ROUNDS = 3


@click.command()
@click.argument("file", type=FOLDER)
@SETTINGS
@click.option("--measure", is_flag=True, help="Also measure each sum: its time, and the memory torch needs for it.")
@click.pass_obj
def explain(registry: Registry, file: Path, settings: tuple[str, ...], measure: bool) -> None:
    """Says how each sum of one step is evaluated, and why.

    For each sum of a step of FILE: its shape, what evaluates it and why, its predicted time and memory.
    """
    experiment = load(file, registry, settings)
    built = build(experiment, registry, str(file))
    chosen = experiment.reducer
    if chosen is not None and not isinstance(chosen, Local):
        raise MeasureflowError(f"reducer: {chosen.kind} hides its sums, so that nothing can be said of them; name a local one")
    told = Told(_named(chosen) if chosen else _picked(registry), measure)
    advance(through(Served(told.serve), built.dynamics), built.system)
    for line in (*_lines(told), _total(told)):
        click.echo(line)


@final
@attrs.frozen
class Choice:
    """Which reducer evaluates a sum, under what name, why, and how many seconds that is predicted to take.

    `candidate` is the planner's description of the reducer, None where it knows none.
    """

    reducer: Local
    name: str
    why: str
    candidate: Candidate | None = None
    seconds: float | None = None


def _picked(registry: Registry) -> Callable[[Feature, Request], Choice]:
    """The choices of reducer = "auto"."""

    def choose(phi: Feature, asked: Request) -> Choice:
        picked, plan = registry.pick_reducer(asked), planner(asked.device.type).plan(asked)
        if picked != plan.reducer:
            return Choice(picked, picked.kind, "a plugin's pick_reducer says so")
        return Choice(picked, plan.candidate.name, plan.why, plan.candidate, plan.seconds)

    return choose


def _named(reducer: Local) -> Callable[[Feature, Request], Choice]:
    """The one reducer that the experiment names, unless it leaves the sums to another."""

    def choose(phi: Feature, asked: Request) -> Choice:
        why, said = reducer.declines(phi, asked), "named by the experiment"
        if why:
            return Choice(reducer, "chunked", f"{said} is {reducer.kind}, which leaves these sums to it: {why}")
        known = next((c for c in candidates(asked) if c.reducer == reducer), None)
        costs = planner(asked.device.type).costs
        return Choice(reducer, reducer.kind, said, known, costs.predict(asked, known.name) if known else None)

    return choose


@final
@attrs.define(eq=False)
class Told:
    """Serves each sum as chosen, and keeps what was asked, chosen and measured, equal sums once."""

    choose: Callable[[Feature, Request], Choice]
    measure: bool
    count: Counter[Request] = attrs.field(factory=Counter)
    choices: dict[Request, Choice] = attrs.field(factory=dict)
    seconds: dict[Request, float] = attrs.field(factory=dict)
    bytes: dict[Request, int] = attrs.field(factory=dict)

    def serve(self, asked: Request, phi: Feature, work: Work) -> Any:
        if asked not in self.choices:
            choice = self.choices[asked] = self.choose(phi, asked)
            if self.measure:
                self._measured(asked, functools.partial(work, choice.reducer))
        self.count[asked] += 1
        return work(self.choices[asked].reducer)

    def _measured(self, asked: Request, work: Callable[[], object]) -> None:
        with Peak() as peak:
            work()
        self.bytes[asked] = peak.most
        self.seconds[asked] = statistics.median(timed(work, asked.device) for _ in range(ROUNDS))


def _lines(told: Told) -> Iterator[str]:
    """Three lines for each sum: what is asked, by what it is evaluated and why, what that costs."""
    for asked, count in told.count.items():
        choice = told.choices[asked]
        times = f", {count} times" if count > 1 else ""
        yield f"{what(asked)} of {asked.profile}: {asked.n_out:,} outputs x {asked.n_in:,} inputs, d = {asked.width}{times}"
        whole = " (one holds the whole matrix)" if choice.candidate and asked.n_out * asked.n_in <= choice.candidate.tile else ""
        yield f"  by {choice.name}{whole}: {choice.why}"
        costs = [f"{_ms(choice.seconds)}, {choice.candidate.memory(asked) / 2**20:.1f} MiB predicted"] if choice.candidate else []
        if asked in told.seconds:
            costs.append(f"{_ms(told.seconds[asked])}, {told.bytes[asked] / 2**20:.1f} MiB measured")
        yield f"  {'; '.join(costs) or 'no prediction'}"


def _ms(seconds: float | None) -> str:
    return "no time" if seconds is None else f"{1e3 * seconds:.2f} ms"


def _total(told: Told) -> str:
    """What the sums add up to, and where the predictions are from."""
    if not told.count:
        return "this step asks for no sums"
    seconds = [told.count[asked] * choice.seconds for asked, choice in told.choices.items() if choice.seconds is not None]
    least = "" if len(seconds) == len(told.choices) else "at least "
    where = planner(next(iter(told.choices)).device.type).where
    total = f"{least}{1e3 * sum(seconds):.2f} ms predicted" if seconds else "no time predicted"
    return f"sums of one step: {total}; costs are from {where}; measureflow tune measures this machine"
