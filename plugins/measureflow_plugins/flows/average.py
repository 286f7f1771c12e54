"""Remembers where a measure has been."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import MeasureflowError

POINTS, MASS = "average.points", "average.mass"

MOST = 1024  # slots, each of which takes as much memory as the measure


def _even(_instance: object, attribute: Any, value: int) -> None:
    within(2, MOST)(_instance, attribute, value)
    if value % 2:
        raise ValueError(f"slots = {value}: must be even, since full slots are merged in pairs")


@final
@attrs.frozen
class Average(Flow):
    """Keeps the time average (1/t) sum_s mu_s as marks; moves nothing. Put it last in the list, from the first step on.

    Each atom carries `slots` windows of equally many steps: the mass summed over the window, and the mass-weighted mean of
    its positions (along geodesics). When all are full, neighbours merge. The average is exact where atoms stand still, and
    otherwise off to second order in how far an atom moves within a window, which lasts between 1/slots and 2/slots of the
    run. Every step counts the same, whatever its h. `time_average` reads it.
    """

    kind: ClassVar[str] = "average"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    slots: int = attrs.field(default=32, validator=_even)

    @property
    def once(self) -> bool:
        return True

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        points = mu.points[:, None].repeat(1, self.slots, 1)
        return {POINTS: points, MASS: torch.zeros_like(points[:, :, 0])}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        if h == 0:
            return mu
        points, mass = mu.marks[POINTS].clone(), mu.marks[MASS].clone()
        width = 1
        while context.step >= self.slots * width:
            width *= 2
        half = self.slots // 2
        if width > 1 and context.step == half * width:
            merged, total = _joined(mu, points[:, ::2], mass[:, ::2], points[:, 1::2], mass[:, 1::2])
            points[:, :half], mass[:, :half], mass[:, half:] = merged, total, 0.0
        slot = slice(context.step // width, context.step // width + 1)
        points[:, slot], mass[:, slot] = _joined(mu, points[:, slot], mass[:, slot], mu.points[:, None], mu.log_mass.exp()[:, None])
        return mu.replace(marks={**mu.marks, POINTS: points, MASS: mass})


def _joined(mu: Particles, p: Tensor, m: Tensor, q: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Masses m and n (M, k) at p and q (M, k, d) as one atom each: at q where m is 0, else between them on the geodesic."""
    total = m + n
    share = torch.where(total > 0, n / total, torch.zeros_like(total)).reshape(-1, 1)
    start, stop = p.reshape(-1, mu.dim), q.reshape(-1, mu.dim)
    between = mu.domain.exp(start, share * mu.domain.log(start, stop)).view(p.shape)
    return torch.where((m == 0)[..., None], q, between), total


def time_average(name: str, mu: Particles, step: int) -> Particles:
    """The average of the measure over its first `step` steps, as (M slots) atoms; raises MeasureflowError without marks."""
    if MASS not in mu.marks:
        raise MeasureflowError(f"measures.{name}.flows: no time average is kept; put {{kind = 'average'}} last in the list")
    if step == 0:
        return mu.replace(marks={})
    mass = mu.marks[MASS]
    sign = mu.sign[:, None].expand_as(mass).reshape(-1)
    return Particles(mu.marks[POINTS].reshape(-1, mu.dim), sign, (mass / step).log().reshape(-1), mu.domain)
