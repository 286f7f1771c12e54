"""What the schemes that repeat a step share: potentials pinned to known points, and lists that allow it."""

from collections.abc import Callable, Iterable, Mapping
from typing import final

import attrs
from torch import Tensor

from measureflow.core.measure import Field, Need, Particles, System
from measureflow.dynamics.blocks import step_of
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.errors import MeasureflowError


@final
@attrs.frozen(eq=False)
class Pinned(Potential):
    """The field of a potential at the atoms of `mu`, whatever point is asked for: g(p^) in a step that starts at p."""

    potential: Potential
    mu: Particles

    def __call__(self, at: Tensor, need: Need) -> Field:
        return along(self.mu, self.potential(self.mu.points, need))


def along(mu: Particles, field: Field) -> Field:
    """A field at the atoms of `mu` with its gradient along the domain: what is normal at one point is not so at another."""
    grad = field.maybe_grad
    return field if grad is None else Field(field.maybe_value, mu.domain.tangent(mu.points, grad))


def moved(name: str, system: System, dynamics: Dynamics, h: float, potential: Potential) -> Particles:
    """Measure `name` after its whole list of flows, all of which see the one given potential."""
    mu = system[name]
    for position, flow in enumerate(dynamics.flows[name]):
        if dynamics.visible(flow, mu) is not mu:
            raise MeasureflowError(
                f"measures.{name}.flows.{position} ({flow.kind}): sums over atoms by itself (parts = False), and this order needs "
                f"gradients at parts of {name!r}; keep {name!r} out of `sharded`"
            )
        mu = step_of(flow, mu, potential, h, dynamics.context(name, position, system.replace({name: mu})))
    return mu


def stepped(system: System, dynamics: Dynamics, h: float, potential: Callable[[str], Potential]) -> System:
    """Every measure that has flows moved at once, each by its own potential."""
    moving = [name for name, flows in dynamics.flows.items() if flows]
    return system.replace({name: moved(name, system, dynamics, h, potential(name)) for name in moving})


def jumps(kind: str, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
    """An objection for each flow that is no gradient step at its atoms' own points."""
    for name, flows in players.items():
        for i, flow in enumerate(flows):
            if not flow.pointwise:
                yield (
                    f"measures.{name}.flows.{i} ({flow.kind}): order = {kind!r} combines gradients of two systems at each atom, "
                    "and this flow's move is no gradient step (pointwise = False); remove it, or use order = 'sequential' or "
                    "'simultaneous'"
                )
