"""Notices a state that is no longer finite, and says which flow of which measure made it so."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.coupling import Potential
from measureflow.errors import NonFiniteError
from measureflow.flow import Context, Flow
from measureflow.measure import Particles, System
from measureflow.noise import Noise
from measureflow.schedule import Schedule
from measureflow.scheme import Game, Scheme


def finite(system: System, game: Game) -> bool:
    """Whether every moving measure has finite points, masses and log-masses, in every process: one sum each, read together."""
    return not game.reducer.team.any(not _finite([system[name] for name in game.players]))


def _finite(measures: Sequence[Particles]) -> bool:
    sums = [part.sum() for mu in measures for part in (mu.points, mu.mass, mu.log_mass)]
    return bool(torch.isfinite(torch.stack(sums)).all()) if sums else True


def blame(scheme: Scheme, game: Game, system: System, h: float) -> NonFiniteError:
    """Takes the failed step again, flow by flow; returns the error that names the measure, the flow and the remedy.

    A step that overwrote the system it began with cannot be taken again: the error then says so.
    """
    if game.in_place:
        return NonFiniteError(
            f"the state became non-finite at step {system.step + 1}: lower step (now {h:g}); a step in place may have overwritten "
            "the state before it: in_place = false names the flow and keeps the last good state"
        )
    watched = {name: tuple(_Watched(flow) for flow in flows) for name, flows in game.players.items()}
    try:
        scheme.advance(system, attrs.evolve(game, players=watched), h)
    except NonFiniteError as error:
        return error
    return NonFiniteError(f"the state became non-finite at step {system.step + 1}: lower step (now {h:g})")


@final
@attrs.frozen(eq=False)
class _Watched(Flow):
    """A flow that raises NonFiniteError, naming itself, where its result is not finite."""

    kind: ClassVar[str] = "watched"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    flow: Flow

    @property
    def parts(self) -> bool:  # type: ignore[override]
        return self.flow.local or self.flow.parts

    @property
    def once(self) -> bool:
        return self.flow.once

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return self.flow.marks(mu, noise)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        moved = self.flow.step(mu, potential, h, context)
        if context.reducer.team.any(not _finite([moved])):
            name, place = context.measure, f"measures.{context.measure}.flows.{context.position}"
            raise NonFiniteError(
                f"{name} became non-finite at step {context.step + 1} in its flow {self.flow.kind!r} ({place}): "
                f"lower step (now {h:g}){_rates(self.flow, place, context.step)}"
            )
        return moved


def _rates(flow: Any, place: str, step: int) -> str:
    named = ((field.name, getattr(flow, field.name)) for field in attrs.fields(type(flow)))
    rates = [
        f"{place}.{name} (now {value(step):g})" for name, value in named if isinstance(value, Schedule) and name != "temperature"
    ]
    return f" or {' or '.join(rates)}" if rates else ""
