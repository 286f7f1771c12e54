"""Restarts: particles jump back to the data."""

from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.coupling import Potential
from measureflow.flow import Context, Flow
from measureflow.measure import Particles
from measureflow.schedule import Schedule, scheduled, within


@final
@attrs.frozen
class Restart(Flow):
    """Each atom is replaced by a data point with `probability` per step, or all of them every `every` steps.

    to "random": a data point drawn uniformly; to "own": atom i returns to data point i mod n, of which it was a copy. The
    first step restarts under `every` only at step 0, every, 2 every, ... . Masses stay; marks start anew (Domingo-Enrich
    et al., eq. 10: probability 0 is maximum likelihood, 1 is score matching).
    """

    kind: ClassVar[str] = "restart"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    probability: Schedule = scheduled(0.0, 0.0, 1.0)
    every: int | None = attrs.field(default=None, validator=within(1))
    to: Literal["random", "own"] = "random"
    data: str = "data"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        if h == 0:
            return mu
        p = self.probability(context.step)
        if self.every is not None and context.step % self.every == 0:
            p = 1.0
        if p == 0:
            return mu
        chosen = None if p == 1 else context.noise.uniform(mu, "who") < p
        at = context.take(self.data, self._where(mu, context)).points
        if not mu.marks:
            return mu.replace(points=_mixed(chosen, at, mu.points))
        new = context.fresh(mu.replace(points=at))
        marks = {name: _mixed(chosen, new.marks[name], mark) for name, mark in mu.marks.items()}
        return mu.replace(points=_mixed(chosen, at, mu.points), marks=marks)

    def _where(self, mu: Particles, context: Context) -> Tensor:
        n = context.system[self.data].whole
        if self.to == "own":
            return torch.arange(mu.rows.start, mu.rows.stop, device=mu.points.device) % n
        return context.noise.index(mu, n, "where")


def _mixed(chosen: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `chosen`, else of `old`; all of `new` where everyone is."""
    return new if chosen is None else torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), new, old)
