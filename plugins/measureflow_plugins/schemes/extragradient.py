"""Extragradient: everyone looks one step ahead before moving."""

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow_plugins.schemes._fields import Pinned, jumps, stepped


@final
@attrs.frozen
class Extragradient(Scheme):
    """p^ = p - h g(p), then p <- p - h g(p^), g the fields of all measures at once; damps the rotation of min-max games.

    Every flow of a list sees the same field, taken at the system's own atoms: first that of the system, then that of the
    looked-ahead system. Positions and log-masses are both looked ahead. On a curved domain the gradient along the domain at
    p^ is projected on the tangent space at p, and the step ends on the domain by the flow's own method: first-order transport
    and retraction, which change the step by O(h^3). Lists may hold pointwise flows only.
    """

    kind: ClassVar[str] = "extragradient"

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        return jumps(self.kind, players)

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        ahead = stepped(system, dynamics, h, lambda name: Pinned(dynamics.potential(name, system), system[name]))
        return stepped(system, dynamics, h, lambda name: Pinned(dynamics.potential(name, ahead), ahead[name]))
