"""The runs that are held against the experiment as it is: with half the step, twice the atoms, other data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import final

import attrs

from measureflow.config.build import Built, build
from measureflow.config.experiment import Experiment
from measureflow.core.measure import System
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import run
from measureflow.errors import MeasureflowError
from measureflow.observe.observer import Row, measured
from measureflow.plugins.registry import Registry
from measureflow_plugins.inits.union import Union
from measureflow_plugins.schemes.substeps import Substeps
from measureflow_plugins.sources.bootstrap import Bootstrap, resampled
from measureflow_tools.error_budget.coarse import Coarse

PARTS = 2
BASE, STEP, DATA, TEST = "base", "step", "data", "test"
Rows = Mapping[str, Sequence[Row]]  # rows of last metrics, by the part of the error that they are for


@final
@attrs.frozen
class Run:
    """One run: which `part` of the error it is for (BASE for the experiment as it is), about how many runs' work it is, and
    how many resamples of the test set are measured at its end."""

    part: str
    experiment: Experiment
    work: int = 1
    tests: int = 0


def runs(e: Experiment, resamples: int) -> Iterator[Run]:
    """The runs of one seed, the experiment as it is first; raises MeasureflowError where a measure has the name of a part."""
    for name in {BASE, STEP, DATA, TEST} & {*e.measures}:
        raise MeasureflowError(f"measures.{name}: the meter has a part of that name; call the measure something else")
    sizes = e.data.sizes()
    yield Run(BASE, e, tests=resamples if TEST in sizes else 0)
    yield Run(STEP, attrs.evolve(e, order=refined(e.order)), PARTS)
    for name, player in e.measures.items():
        if player.flows:
            more = attrs.evolve(player, init=Union(player.init, 2))
            yield Run(name, attrs.evolve(e, measures={**e.measures, name: more}), 2)
    if DATA in sizes:
        for resample in range(resamples):
            yield Run(DATA, attrs.evolve(e, data=Bootstrap(e.data, resample)))


def refined(order: Scheme) -> Scheme:
    """The scheme with every step in two; one that is cut already is cut within its parts, so that the path stays the same."""
    return attrs.evolve(order, of=refined(order.of)) if isinstance(order, Substeps) else Substeps(order, PARTS)


def ended(one: Run, registry: Registry, where: str, tick: Callable[[], object]) -> Rows:
    """The metrics after the last step, `tick` called after each; all runs of one seed follow the same Brownian paths."""
    built = build(one.experiment, registry, where)
    dynamics = built.dynamics
    if one.part != STEP:
        dynamics = attrs.evolve(dynamics, noise=Coarse(dynamics.noise, PARTS))
    for system in run(dynamics, built.system, one.experiment.steps):
        if system.step:
            tick()
    tests = [{TEST: resampled(system[TEST], built.view.noise.at("bootstrap", TEST, i))} for i in range(one.tests)]
    found = {one.part: [_row(one, built, system)], TEST: [_row(one, built, system.replace(test)) for test in tests]}
    return {part: rows for part, rows in found.items() if rows}


def _row(one: Run, built: Built, system: System) -> Row:
    return measured(system, built.view, [probe.metric for probe in one.experiment.metrics])
