"""One measure after the other."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.scheme import Game, Scheme


@final
@attrs.frozen
class Sequential(Scheme):
    """Measures move in the order of the config; each sees those before it as they now are (the authors' program)."""

    kind: ClassVar[str] = "sequential"
    in_place: ClassVar[bool] = True

    def advance(self, system: System, game: Game, h: float) -> System:
        for name in game.players:
            system = system.replace({name: game.walk(name, system, h, game.in_place)})
        return system
