"""Restarts: particles jump back to the data."""

from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Particles
from measureflow.core.schedule import Schedule, scheduled, within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import MeasureflowError


@final
@attrs.frozen
class Restart(Flow):
    """Each atom is replaced by a data point with `probability` per step, or at a `rate` r, or all of them every `every` steps.

    The chance is p_R, or min(h r, 1), so that time and not the number of steps counts, or 1 at steps 0, every, 2 every, ...
    and 0 between them: give one of the three.

    to "random": a data point drawn uniformly; to "own": atom i returns to data point i mod n, of which it was a copy. Masses
    stay; marks start anew (Domingo-Enrich et al., eq. 10: probability 0 is maximum likelihood, 1 is score matching).
    """

    kind: ClassVar[str] = "restart"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    probability: Schedule = scheduled(0.0, 0.0, 1.0)
    rate: Schedule = scheduled(0.0)
    every: int | None = attrs.field(default=None, validator=within(1))
    to: Literal["random", "own"] = "random"
    data: str = "data"

    def __attrs_post_init__(self) -> None:
        given = [name for name in ("probability", "rate") if getattr(self, name).range != (0.0, 0.0)]
        given += ["every"] if self.every is not None else []
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} each say when to restart: keep one of them")

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def pace(self, step: int) -> float:
        return 0.0  # a jump takes no time

    @property
    def once(self) -> bool:
        return self.rate.range == (0.0, 0.0)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        if h == 0:
            return mu
        p = self._chance(h, context.step)
        if p == 0:
            return mu
        self._fits(mu, context)
        chosen = None if p == 1 else context.noise.uniform(mu, "who") < p
        at = context.take(self.data, self._where(mu, context)).points
        if not mu.marks:
            return mu.replace(points=_mixed(chosen, at, mu.points))
        new = context.fresh(mu.replace(points=at))
        marks = {name: _mixed(chosen, new.marks[name], mark) for name, mark in mu.marks.items()}
        return mu.replace(points=_mixed(chosen, at, mu.points), marks=marks)

    def _fits(self, mu: Particles, context: Context) -> None:
        home = context.system[self.data]
        if (home.domain.kind, home.dim) != (mu.domain.kind, mu.dim):
            raise MeasureflowError(
                f"measures.{context.measure}.flows.{context.position} (restart): {self.data!r} lives on {home.domain.kind} with "
                f"d = {home.dim}, this measure on {mu.domain.kind} with d = {mu.dim}; restart one that lives where its data do"
            )

    def _chance(self, h: float, step: int) -> float:
        if self.every is not None:
            return float(step % self.every == 0)
        return max(self.probability(step), min(h * self.rate(step), 1.0))

    def _where(self, mu: Particles, context: Context) -> Tensor:
        n = context.system[self.data].whole
        if self.to == "own":
            return torch.arange(mu.rows.start, mu.rows.stop, device=mu.points.device) % n
        return context.noise.index(mu, n, "where")


def _mixed(chosen: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `chosen`, else of `old`; all of `new` where everyone is."""
    return new if chosen is None else torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)
