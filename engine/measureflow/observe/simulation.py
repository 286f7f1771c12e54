"""A simulation made of Python objects: it needs no registry, no file and no run folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from measureflow.core.measure import Particles, System
from measureflow.dynamics.divergence import RUNAWAY, Guard, begins_well, bounds_of
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import marked
from measureflow.dynamics.simulate import run
from measureflow.errors import ConfigError, unknown
from measureflow.observe.metric import Metric, View
from measureflow.observe.observer import Every, Row, measured

Callback = Callable[[System, Row], object]


def simulate(
    dynamics: Dynamics,
    measures: Mapping[str, Particles] | System,
    steps: int,
    metrics: Sequence[Metric] = (),
    callbacks: Sequence[Callback] = (),
    every: int = 1,
) -> Iterator[System]:
    """Each system from the first to that of step `steps`; raises ConfigError that names every problem before the first step.

    `measures` are all measures by name, those that move and those that stand still, or a system to continue from. Every
    `every` steps and at the last one the metrics are measured, the state is checked, and each callback is called as
    `callback(system, row)` with the metrics by name. NonFiniteError names the step, the measure and the flow that diverged.
    """
    system = measures if isinstance(measures, System) else System(measures)
    problems = list(_problems(dynamics, system, metrics))
    if problems:
        raise ConfigError("simulate", problems)
    system = system.replace({name: _started(dynamics, name, system[name]) for name in dynamics.flows})
    infinite = [name for name in dynamics.flows if not begins_well(system[name])]
    if infinite:
        raise ConfigError("simulate", [f"measures[{name!r}]: some of its numbers are not finite" for name in infinite])
    if not dynamics.bounds:
        dynamics = attrs.evolve(dynamics, bounds=bounds_of(system, dynamics, RUNAWAY))
    return _shown(dynamics, system, steps, metrics, callbacks, Every(every))


def _shown(
    dynamics: Dynamics,
    first: System,
    steps: int,
    metrics: Sequence[Metric],
    callbacks: Sequence[Callback],
    trigger: Every,
) -> Iterator[System]:
    """Each system, measured and given to the callbacks when it is due."""
    view = View(dynamics.coupling, dynamics.reducer, dynamics.noise, None)
    for system in run(dynamics, first, steps, Guard(lambda step: trigger.due(step, steps))):
        if trigger.due(system.step, steps):
            row = measured(system, view, metrics)
            for callback in callbacks:
                callback(system, row)
        yield system


def _started(dynamics: Dynamics, name: str, mu: Particles) -> Particles:
    """`mu` with the marks that its flows and the scheme need; those that it has already are kept."""
    marks = marked(mu, dynamics.flows[name], dynamics.noise.at("init", name)).marks
    scheme = {} if dynamics.scheme is None else dynamics.scheme.marks(mu)
    own = mu.points.clone() if dynamics.in_place else mu.points  # what the caller holds is never overwritten
    return mu.replace(points=own, marks={**marks, **scheme, **mu.marks})


def _problems(dynamics: Dynamics, system: System, metrics: Sequence[Metric]) -> Iterator[str]:
    """What keeps these dynamics from moving these measures."""
    coupling, scheme, there = dynamics.coupling, dynamics.scheme, system.measures
    for name, flows in dynamics.flows.items():
        if name not in there:
            yield f"flows: {unknown('measure', name, there)}"
        if flows and name not in coupling.moves:
            yield f"flows: coupling ({coupling.kind}) moves {unknown('measure', name, coupling.moves)}"
        for i, flow in enumerate(flows):
            yield from (f"flows[{name!r}][{i}] ({flow.kind}): reads {said}" for said in _absent(flow.reads, there))
    yield from (f"coupling ({coupling.kind}): needs {said}" for said in _absent((*coupling.moves, *coupling.reads), there))
    for metric in metrics:
        yield from (f"metric {metric.kind!r}: reads {said}" for said in _absent(metric.reads, there))
    yield from coupling.objections(dynamics.flows)
    if scheme is not None:
        yield from scheme.objections(dynamics.flows)
        if dynamics.in_place and not scheme.in_place:
            yield f"in_place: scheme {scheme.kind!r} reads measures as they were before they moved; use in_place = False"
    kinds = {name: f"{str(mu.points.dtype)[6:]} on {mu.points.device}" for name, mu in there.items()}
    if len({*kinds.values()}) > 1:
        yield f"measures: all must have one dtype and lie on one device, got {', '.join(map(': '.join, kinds.items()))}"


def _absent(names: Sequence[str], there: Mapping[str, Particles]) -> Iterator[str]:
    return (unknown("measure", name, there) for name in names if name not in there)
