"""The unit sphere S^{d-1} in R^d with its uniform law."""

from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Domain

TINY = 1e-12  # the length below which a vector has no direction


@final
@attrs.frozen
class Sphere(Domain):
    """S^{d-1}, tau uniform: its score is zero, and log tau is 0 against the normalised volume."""

    kind: ClassVar[str] = "sphere"
    flat: ClassVar[bool] = True

    def project(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return points / torch.linalg.vector_norm(points, dim=1, keepdim=True).clamp_min_(TINY)

    def tangent(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return vectors - points * (points * vectors).sum(1, keepdim=True)

    def exp(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        angle = vectors.norm(dim=1, keepdim=True)
        return self.project(points * angle.cos() + vectors * torch.sinc(angle / torch.pi))

    def log(self, points: Float[Tensor, "n d"], targets: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        across = self.tangent(points, targets)
        sine = across.norm(dim=1, keepdim=True)
        angle = torch.atan2(sine, (points * targets).sum(1, keepdim=True))
        return across * torch.where(sine > 0, angle / sine, torch.ones_like(sine))

    def log_volume(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        r = vectors.norm(dim=1)
        inside = (points.shape[1] - 2) * torch.sinc(r / torch.pi).abs().log()
        return torch.where(r < torch.pi, inside, torch.full_like(r, -torch.inf))

    def transport(
        self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"], along: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        angle = along.norm(dim=1, keepdim=True)
        unit = along / torch.where(angle > 0, angle, torch.ones_like(angle))
        part = (unit * vectors).sum(1, keepdim=True)
        return vectors + part * (unit * (angle.cos() - 1) - points * angle.sin())

    def sample(self, normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return self.project(normal)

    def log_density(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return torch.zeros_like(points[:, 0])

    def score(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return torch.zeros_like(points)

    def distance_to(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        return (points.norm(dim=1) - 1).abs()

    def dimension(self, d: int) -> int:
        return d - 1
