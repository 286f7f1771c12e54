"""R^d with a flat or a Gaussian base measure."""

import math
from typing import ClassVar, Literal, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.core.schedule import within


@final
@attrs.frozen
class Euclidean(Domain):
    """R^d; `base` "flat" is Lebesgue measure (score 0), "gaussian" is N(0, variance I) (score -x / variance)."""

    kind: ClassVar[str] = "euclidean"
    base: Literal["flat", "gaussian"] = "flat"
    variance: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    @property
    def flat(self) -> bool:
        return self.base == "flat"

    def project(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return points

    def tangent(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return vectors

    def exp(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return points + vectors

    def log(self, points: Float[Tensor, "n d"], targets: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return targets - points

    def log_volume(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros_like(points[:, 0])

    def transport(
        self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"], along: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        return vectors

    def sample(self, normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return normal * math.sqrt(self.variance)

    def log_density(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        if self.flat:
            return torch.zeros_like(points[:, 0])
        return points.square().sum(1) * (-0.5 / self.variance)

    def score(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.zeros_like(points) if self.flat else points * (-1 / self.variance)

    def distance_to(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros_like(points[:, 0])

    def dimension(self, d: int) -> int:
        return d
