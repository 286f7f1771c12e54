"""How everything moves.

    system_t -> coupling.bind -> potential -> flow.step, flow after flow -> system_{t+1} -> observers

`advance` is one step, `run` many; both are pure, and short enough to be written anew where they do not suit.
"""

from collections.abc import Iterator
from typing import final

import attrs

from measureflow.core.measure import System
from measureflow.core.schedule import Schedule
from measureflow.dynamics.divergence import Guard
from measureflow.dynamics.scheme import Game, Scheme


@final
@attrs.frozen(eq=False)
class Simulation:
    """What does not change from step to step: the game, the order in which it is played, and the step size h."""

    game: Game
    scheme: Scheme
    step: Schedule


def advance(simulation: Simulation, system: System) -> System:
    """One step of every measure: size h from the schedule, order from the scheme, motion from the game's flows."""
    h = simulation.step(system.step)
    return simulation.scheme.advance(system, simulation.game, h).tick(h)


def run(simulation: Simulation, system: System, steps: int, guard: Guard | None = None) -> Iterator[System]:
    """The given system and then each next one until `steps` are done; raises NonFiniteError, which names the step that failed.

    Each system is sound when it is yielded, which waits for the device; with a guard that looks at fewer steps, most wait for
    nothing, and what is yielded between may turn out bad.
    """
    guard = guard or Guard()
    guard.begin(system)
    yield system
    while system.step < steps:
        system = advance(simulation, system)
        guard.see(system, simulation.game)
        if guard.due(system.step, steps):
            if not guard.sure():
                raise guard.blame(simulation.scheme, simulation.game, simulation.step, system.step)
            guard.begin(system)
        yield system
