"""How everything moves.

    system -> coupling.bind -> potential -> flow.step, flow after flow, measure after measure -> next system

`advance` is one step, `run` many; both are pure, and short enough to write your own if they do not fit.
"""

from collections.abc import Iterator

from measureflow.core.measure import Particles, System
from measureflow.dynamics.blocks import streamed
from measureflow.dynamics.divergence import Guard
from measureflow.dynamics.dynamics import Dynamics


def apply_flows(dynamics: Dynamics, name: str, system: System, h: float, in_place: bool = False) -> Particles:
    """Measure `name` after all of its flows, in order, each with a potential bound to the measure as it then is.

    With `in_place` its points in `system` may be overwritten: nothing may read them afterwards.
    """
    mu = system[name]
    for position, flow in enumerate(dynamics.flows[name]):
        now, seen = system.replace({name: mu}), dynamics.visible(flow, mu)
        context = dynamics.context(name, position, now)
        moved = streamed(flow, seen, dynamics.potential(name, now, seen), h, context, in_place)
        mu = moved if seen is mu else dynamics.reducer.part(moved)
    return mu


def one_after_the_other(system: System, dynamics: Dynamics, h: float) -> System:
    """Every measure moved, in the order of `dynamics.flows`; each sees those before it as they now are."""
    for name in dynamics.flows:
        system = system.replace({name: apply_flows(dynamics, name, system, h, dynamics.in_place)})
    return system


def advance(dynamics: Dynamics, system: System) -> System:
    """One step of every measure: its size from the schedule, its order from the scheme."""
    h = dynamics.step_size(system.step)
    move = one_after_the_other if dynamics.scheme is None else dynamics.scheme.advance
    return move(system, dynamics, h).tick(h)


def run(dynamics: Dynamics, system: System, steps: int, guard: Guard | None = None) -> Iterator[System]:
    """The given system and then each next one until `steps` are done; raises NonFiniteError, which names the step that failed.

    Each system is sound when it is yielded, which waits for the device. A guard that looks at fewer steps waits less often;
    a system yielded between two looks may turn out bad.
    """
    guard = guard or Guard()
    guard.begin(system)
    yield system
    while system.step < steps:
        system = advance(dynamics, system)
        guard.see(system, dynamics)
        if guard.due(system.step, steps):
            if not guard.sure():
                raise guard.blame(dynamics, system.step, advance)
            guard.begin(system)
        yield system
