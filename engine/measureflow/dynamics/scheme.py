"""Schemes: in which order the measures see each other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.dynamics.flow import Flow

if TYPE_CHECKING:
    from measureflow.dynamics.dynamics import Dynamics  # which has a scheme


class Scheme(ABC):
    """The order in which the measures see each other within one step.

    Write one for a new splitting (alternating, extragradient, optimistic). A subclass is a final frozen attrs class with a
    `kind`. Implement `advance(system, dynamics, h)`: the system after one step, its clock unchanged.
    `apply_flows(dynamics, name, system, h)` moves one measure through its whole list, with all potentials taken from the
    system it is given; a scheme that needs other potentials goes through the lists itself, with `dynamics.potential` and
    `dynamics.context`. Schemes keep no state: what one must remember of the step before goes into the atoms' marks, and
    `marks(mu)` says how they start. A scheme that never reads a measure as it was before it moved may set `in_place = True`
    and pass `dynamics.in_place` to `apply_flows`.
    """

    family: ClassVar[str] = "scheme"
    kind: ClassVar[str]
    in_place: ClassVar[bool] = False
    """No measure is read as it was before it moved, so that `dynamics.in_place` may be passed to `apply_flows`."""

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        """What this scheme cannot play, each as `measures.NAME.flows.I (kind): why`; asked before the run."""
        return ()

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        """The marks (M, ...) that this scheme keeps on the atoms of each moving measure, as they start."""
        return {}

    @abstractmethod
    def advance(self, system: System, dynamics: "Dynamics", h: float) -> System:
        """Every measure of `dynamics.flows` after one step of size `h`."""


class WrappedScheme(Scheme):
    """A scheme that plays another one, and answers for it: its objections, its marks, whether it moves measures in place.

    Write one for a scheme that changes what another one sees or how often it acts. Implement `inner`, usually a field, and
    `advance`.
    """

    @property
    @abstractmethod
    def inner(self) -> Scheme:
        """The scheme that is played."""

    @property
    def in_place(self) -> bool:  # type: ignore[override]
        return self.inner.in_place

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        return self.inner.objections(players)

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return self.inner.marks(mu)
