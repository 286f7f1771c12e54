"""Schemes: in which order the measures see each other."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.core.noise import Noise
from measureflow.dynamics.blocks import streamed
from measureflow.dynamics.coupling import Coupling, Deferred, Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.reduction.reducer import Reducer


@final
@attrs.frozen(eq=False)
class Game:
    """Who plays: each moving measure's list of flows, in order, and the coupling that gives them their potentials.

    `in_place` asks the scheme to let large measures that only local flows move overwrite their points, where nothing else
    reads them: a step then needs little memory beside the state, and the system before it is lost. `bounds` says how far a
    coordinate of a measure may get before the run takes it for runaway.
    """

    players: Mapping[str, tuple[Flow, ...]]
    coupling: Coupling
    reducer: Reducer
    noise: Noise
    in_place: bool = False
    bounds: Mapping[str, float] = attrs.field(factory=dict)

    def potential(self, name: str, system: System, points: Particles | None = None) -> Potential:
        """The potential of measure `name` at this instant, bound at its first use, for points that lie as its atoms do."""
        reducer = self.reducer.at(system[name] if points is None else points)
        return Deferred(functools.partial(self.coupling.bind, name, system, reducer))

    def context(self, name: str, position: int, system: System) -> Context:
        """The context of flow number `position` of measure `name` at this instant."""
        noise = self.noise.at(name, system.step, position)
        return Context(name, position, self.players[name], system, noise, self.reducer)

    def walk(self, name: str, system: System, h: float, in_place: bool = False) -> Particles:
        """Measure `name` after its whole list of flows, each with a potential bound to the measure as it then is.

        With `in_place` its points in `system` may be overwritten: nobody may look at them again.
        """
        mu = system[name]
        for position, flow in enumerate(self.players[name]):
            now, seen = system.replace({name: mu}), self.seen(flow, mu)
            context = self.context(name, position, now)
            moved = streamed(flow, seen, self.potential(name, now, seen), h, context, in_place)
            mu = moved if seen is mu else self.reducer.part(moved)
        return mu

    def seen(self, flow: Flow, mu: Particles) -> Particles:
        """What a flow is given of a measure: what is held here, or all of it where the flow sums over atoms by itself."""
        return mu if flow.local or flow.parts else self.reducer.whole(mu)


class Scheme(ABC):
    """The order in which the measures of a game see each other within one step.

    Write one for a new splitting (alternating, extragradient, optimistic). A subclass is a final frozen attrs class with a
    `kind`. Implement `advance(system, game, h)`: the system after one step, its clock unchanged. `game.walk(name, seen, h)`
    moves one measure through its whole list, with all potentials taken from the system it is shown; a scheme that needs
    other potentials walks the lists itself, with `game.potential` and `game.context`. Schemes keep no state: what one must
    remember of the step before goes into the atoms' marks, and `marks(mu)` says how they start. A scheme in which nobody looks
    at a measure as it was once it has moved may say `in_place = True` and pass `game.in_place` on to `game.walk`.
    """

    family: ClassVar[str] = "scheme"
    kind: ClassVar[str]
    in_place: ClassVar[bool] = False
    """No measure is read as it was before it moved, so that `game.in_place` may be passed on to `game.walk`."""

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        """What this scheme cannot play, each as `measures.NAME.flows.I (kind): why`; asked before the run."""
        return ()

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        """The marks (M, ...) that this scheme keeps on the atoms of each moving measure, as they start."""
        return {}

    @abstractmethod
    def advance(self, system: System, game: Game, h: float) -> System:
        """Every measure of `game.players` after one step of size `h`."""


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
