"""What components promise where several processes hold a system in parts; two threads stand for the processes."""

from collections.abc import Callable

import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.coupling import Coupling
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import advance, apply_flows
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric
from measureflow.observe.observer import measured
from measureflow.parallel.group import Team
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Reducer
from measureflow.reduction.sharded import Sharded, held, part
from measureflow.testing.families import couplings, flows, metrics, reducers
from measureflow.testing.problems.systems import Alone, quadratic
from measureflow.testing.problems.threads import together
from measureflow.testing.promise import Found, InapplicableError, Promise, close, promise
from measureflow.testing.trial import Trial

PROCESSES = 2


def _dealt(system: System, team: Team) -> System:
    """The parts that one process holds; measures too small for that stay whole."""
    parts = {name: part(mu, team) for name, mu in system.measures.items() if mu.size >= team.size}
    return system.replace(parts)


def _joined(work: Callable[[Team], Particles]) -> dict[str, Tensor]:
    """What the processes hold of a measure, one after the other."""
    held = [mu.tensors for mu in together(PROCESSES, work)]
    return {name: torch.cat([tensors[name] for tensors in held]) for name in held[0]}


def _agree(what: str, got: dict[str, Tensor], wanted: Particles) -> Found:
    for name, tensor in wanted.tensors.items():
        yield close(f"{what}{name}", got[name].double(), tensor.double())


@promise("set `parts` only if every sum over atoms goes through context.reducer; draw noise by mu, not by mu.size")
def many_processes(flow: Flow, trial: Trial) -> Found:
    """Two processes that hold a part of the measure each take the step that one process takes."""
    system = flows.start(flow, trial)
    wanted = flows.after(flow, system)

    def work(team: Team) -> Particles:
        dynamics = Dynamics(Alone(quadratic(system["mu"].dim)), {"mu": (flow,)}, 1.0, reducer=Sharded(Chunked(), team))
        return apply_flows(dynamics, "mu", _dealt(system, team), flows.H)

    yield from _agree("", _joined(work), wanted)


@promise("sum by the reducer, at points of another measure by reducer.at(mu), and build measures with mu.replace")
def coupled_in_parts(coupling: Coupling, trial: Trial) -> Found:
    """Two processes that hold the measures in parts find the value and the potentials that one process finds."""
    system = couplings.start(coupling, trial)
    wanted = coupling.value(system, Chunked())
    for value in together(PROCESSES, lambda team: coupling.value(_dealt(system, team), Sharded(Chunked(), team))):
        yield close("value", value, wanted)
    for name in coupling.moves:
        yield from _potentials(coupling, name, system)


def _potentials(coupling: Coupling, name: str, system: System) -> Found:
    """The potential of one measure, held in parts or by all, against that of one process."""
    mu = system[name]

    def asked(system: System, reducer: Reducer) -> Tensor:
        """The value, and the gradient beside it where there is one."""
        potential, at = coupling.bind(name, system, reducer.at(system[name])), system[name].points
        try:
            return torch.cat([potential(at, Need.VALUE).value[:, None], potential(at, Need.GRAD).grad], 1)
        except MeasureflowError:
            return potential(at, Need.VALUE).value[:, None]

    def work(team: Team, whole: bool) -> Tensor:
        mine = _dealt(system, team)
        return asked(mine.replace({name: mu}) if whole else mine, Sharded(Chunked(), team))

    wanted = asked(system, Chunked())

    for value in together(PROCESSES, lambda team: work(team, True)):
        yield close(f"potential of {name}, which both hold", value, wanted)
    if mu.size >= PROCESSES:
        yield close(f"potential of {name}, held in parts", torch.cat(together(PROCESSES, lambda team: work(team, False))), wanted)


@promise("set `parts` only if every sum over atoms goes through view.reducer, and means are over mu.whole atoms")
def measured_in_parts(metric: Metric, trial: Trial) -> Found:
    """Two processes that hold the measures in parts measure what one process measures."""
    system, view = metrics.start(metric, trial)
    wanted = measured(system, view, [metric])
    built, _ = trial.here()
    if not any(mu.size >= PROCESSES for mu in system.measures.values()):
        raise InapplicableError("no measure has two atoms")

    def work(team: Team) -> dict[str, float]:
        mine = built.dealt(team, [name for name, mu in built.system.measures.items() if mu.size >= team.size])
        parts = {name: mine.view.reducer.part(mu) for name, mu in system.measures.items() if held(mine.system[name])}
        return dict(measured(system.replace(parts), mine.view, [metric]))

    for row in together(PROCESSES, work):
        for name, value in wanted.items():
            yield close(name, torch.tensor(row[name], dtype=torch.float64), value, metrics.ROUNDING)


@promise("move measures by apply_flows, or ask the dynamics for potentials and contexts")
def played_in_parts(scheme: Scheme, trial: Trial) -> Found:
    """Two processes that hold the measures in parts take the steps that one process takes."""
    built = trial.built(order=scheme)
    wanted = built.system
    for _ in range(2):
        wanted = advance(built.dynamics, wanted)
    names = [name for name, mu in built.system.measures.items() if mu.size >= PROCESSES]

    def work(team: Team) -> System:
        mine = built.dealt(team, names)
        system = mine.system
        for _ in range(2):
            system = advance(mine.dynamics, system)
        return system.replace({name: mine.view.reducer.whole(mu) for name, mu in system.measures.items()})

    for system in together(PROCESSES, work):
        for name, mu in wanted.measures.items():
            yield from _agree(f"{name}.", system[name].tensors, mu)


@promise("sum over the atoms that are given: no call depends on another or on what else there is")
def summed_in_parts(reducer: Reducer, trial: Trial) -> Found:
    """Two processes that hold a part of the atoms each find the sums that one process finds."""
    phi, at, sources = reducers.asked(reducer, trial)
    large = [source for source in sources if source.size >= PROCESSES]
    if not large:
        raise InapplicableError(f"no measure of {PROCESSES} atoms or more was asked for")
    for source in large:  # of fewer, a process would hold nothing or all
        wanted = reducer.field(phi, at, source, Need.BOTH)

        def both(team: Team, source: Particles = source) -> Tensor:
            field = Sharded(reducer, team, spread=False).field(phi, at, part(source, team), Need.BOTH)
            return torch.cat([field.value[:, None], field.grad], 1)

        for got in together(PROCESSES, both):
            yield close("sums", got, torch.cat([wanted.value[:, None], wanted.grad], 1))


FLOW: tuple[Promise, ...] = (many_processes,)
COUPLING: tuple[Promise, ...] = (coupled_in_parts,)
METRIC: tuple[Promise, ...] = (measured_in_parts,)
SCHEME: tuple[Promise, ...] = (played_in_parts,)
REDUCER: tuple[Promise, ...] = (summed_in_parts,)
