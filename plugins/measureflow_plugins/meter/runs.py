"""The runs that are held against the experiment as it is: with half the step, twice the atoms, other data."""

from collections.abc import Callable, Iterator
from typing import final

import attrs

from measureflow.experiment import Experiment, build
from measureflow.observe import Row, measured
from measureflow.plugins import Registry
from measureflow.scheme import Scheme
from measureflow.simulate import run
from measureflow_plugins.inits.union import Union
from measureflow_plugins.meter.coarse import Coarse
from measureflow_plugins.schemes.substeps import Substeps
from measureflow_plugins.sources.bootstrap import Bootstrap

PARTS = 2
BASE, STEP, DATA = "base", "step", "data"


@final
@attrs.frozen
class Run:
    """One run: which `part` of the error it is for (BASE for the experiment as it is), and about how many runs' work it is."""

    part: str
    experiment: Experiment
    work: int = 1


def runs(e: Experiment, resamples: int) -> Iterator[Run]:
    """The runs of one seed, the experiment as it is first."""
    yield Run(BASE, e)
    yield Run(STEP, attrs.evolve(e, order=refined(e.order)), PARTS)
    for name, player in e.measures.items():
        if player.flows:
            more = attrs.evolve(player, init=Union(player.init, 2))
            yield Run(name, attrs.evolve(e, measures={**e.measures, name: more}), 2)
    if "data" in e.data.sizes():
        for resample in range(resamples):
            yield Run(DATA, attrs.evolve(e, data=Bootstrap(e.data, resample)))


def refined(order: Scheme) -> Scheme:
    """The scheme with every step in two; one that is cut already is cut within its parts, so that the path stays the same."""
    return attrs.evolve(order, of=refined(order.of)) if isinstance(order, Substeps) else Substeps(order, PARTS)


def last(one: Run, registry: Registry, where: str, tick: Callable[[], object]) -> Row:
    """The metrics after the last step, `tick` called after each; all runs of one seed follow the same Brownian paths."""
    built = build(one.experiment, registry, where)
    simulation, system = built.simulation, built.system
    if one.part != STEP:
        game = attrs.evolve(simulation.game, noise=Coarse(simulation.game.noise, PARTS))
        simulation = attrs.evolve(simulation, game=game)
    for system in run(simulation, system, one.experiment.steps):
        if system.step:
            tick()
    return measured(system, built.view, [probe.metric for probe in one.experiment.metrics])
