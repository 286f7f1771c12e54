"""The flat torus: d circles, a point being d angles."""

import math
from collections.abc import Callable
from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Domain

POINTS = 8  # at which a function is tried for its period
TOLERANCE = 1e-6  # of its largest value: rounding, times a frequency of up to 1e8


@final
@attrs.frozen
class Torus(Domain):
    """(R / 2 pi)^d with the flat metric, tau uniform: a point is d angles in [-pi, pi), one for each circle.

    Its own coordinates are ambient, so every vector is tangent, geodesics are straight lines taken modulo 2 pi, and a
    feature on it must have period 2 pi in each angle ("fourier", "matching", "periodic"); others are refused.
    """

    kind: ClassVar[str] = "torus"
    flat: ClassVar[bool] = True

    def project(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        inside = (points >= -math.pi) & (points < math.pi)
        return torch.where(inside, points, torch.remainder(points + math.pi, 2 * math.pi) - math.pi)

    def tangent(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return vectors

    def exp(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.project(points + vectors)

    def log(self, points: Float[Tensor, "n d"], targets: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.project(targets - points)

    def log_volume(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        inside = (vectors.abs() < math.pi).all(1)
        return torch.where(inside, torch.zeros_like(points[:, 0]), torch.full_like(points[:, 0], -torch.inf))

    def transport(
        self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"], along: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        return vectors

    def sample(self, normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.project((2 * torch.special.ndtr(normal) - 1) * math.pi)

    def log_density(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros_like(points[:, 0])

    def score(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.zeros_like(points)

    def distance_to(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return (points.abs() - math.pi).clamp(min=0).norm(dim=1)

    def dimension(self, d: int) -> int:
        return d

    def objection(self, f: Callable[[Float[Tensor, "n d"]], Tensor], d: int) -> str | None:
        """Tried on a few random points, each of them as many times round each circle as its number says."""
        normal = torch.randn(POINTS, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        points, turns = self.sample(normal), torch.arange(1, POINTS + 1, dtype=torch.float64)[:, None]
        here, round_ = f(points), f(points + 2 * math.pi * turns)
        if torch.allclose(here, round_, rtol=0, atol=TOLERANCE * float(here.abs().max())):
            return None
        return (
            "does not have period 2 pi in every angle, so it is no function on the torus; take fourier or matching, or make a "
            "radial kernel periodic: {kind = 'periodic', kernel = ...}"
        )
