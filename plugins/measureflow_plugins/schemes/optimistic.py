"""Optimistic gradients: the last change of the field is expected to repeat itself."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Field, Need, Particles, System
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow_plugins.schemes._fields import along, jumps, stepped

VALUE, GRAD = "optimistic.value", "optimistic.grad"


@final
@attrs.frozen
class Optimistic(Scheme):
    """p <- p - h (2 g_t - g_{t-1}), g the fields of all measures at once; one field a step where extragradient takes two.

    The previous field at each atom is kept in the marks "optimistic.value" (M,) and "optimistic.grad" (M, d); the first
    step is a plain one. Every flow of a list sees the same extrapolated field. On a curved domain the previous gradient along
    the domain is projected on the tangent space where the atom now is. Lists may hold pointwise flows only.
    """

    kind: ClassVar[str] = "optimistic"

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        return jumps(self.kind, players)

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return {VALUE: torch.zeros_like(mu.points[:, 0]), GRAD: torch.zeros_like(mu.points)}

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        now = {name: _field(name, system, dynamics) for name, flows in dynamics.flows.items() if flows}
        after = stepped(system, dynamics, h, lambda name: _Known(_extrapolated(now[name], system[name], system.step)))
        return after.replace({name: _remembering(after[name], field) for name, field in now.items()})


def _field(name: str, system: System, dynamics: Dynamics) -> Field:
    """The field of measure `name` at its own atoms."""
    mu = system[name]
    return along(mu, dynamics.potential(name, system)(mu.points, Need.BOTH))


@final
@attrs.frozen(eq=False)
class _Known(Potential):
    """A field that is already there."""

    field: Field

    def __call__(self, at: Tensor, need: Need) -> Field:
        return self.field


def _extrapolated(now: Field, mu: Particles, step: int) -> Field:
    """2 g_t - g_{t-1}; g_t at the first step, which knows no other."""
    if step == 0 or VALUE not in mu.marks:
        return now
    return Field(2 * now.value - mu.marks[VALUE], 2 * now.grad - mu.marks[GRAD])


def _remembering(mu: Particles, now: Field) -> Particles:
    return mu.replace(marks={**mu.marks, VALUE: now.value, GRAD: now.grad})
