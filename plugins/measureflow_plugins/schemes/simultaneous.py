"""Everyone at once."""

from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.scheme import Game, Scheme


@final
@attrs.frozen
class Simultaneous(Scheme):
    """Every measure reads the others as they were before the step (Algorithm 1 as printed)."""

    kind: ClassVar[str] = "simultaneous"

    def advance(self, system: System, game: Game, h: float) -> System:
        return system.replace({name: game.walk(name, system, h) for name in game.players})
