"""The von Mises-Fisher bump, whose concentration is the length of its parameter."""

from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import AppendOne, DotProduct, Lift, Symbolic, exponential
from measureflow.core.schedule import within
from measureflow_plugins.domains.euclidean import Euclidean


@final
@attrs.frozen
class MinusNorm(Lift):
    """theta -> (theta, -|theta|); its derivative at 0 is taken as that of (theta, 0)."""

    def forward(self, points: Tensor) -> Tensor:
        return torch.cat([points, -points.norm(dim=1, keepdim=True)], 1)

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(points, dim=1)
        return torch.cat([vectors, -(unit * vectors).sum(1, keepdim=True)], 1)

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        return cotangents[:, :-1] - torch.nn.functional.normalize(points, dim=1) * cotangents[:, -1:]


@final
@attrs.frozen
class VonMisesFisher(DotProduct):
    """phi(x, theta) = exp(<x, theta> - |theta|): on a sphere a bump of height 1 round theta/|theta|, concentration |theta|.

    theta lives in R^d, so a flow that moves it moves the bump and its width; initially Gaussian with the given `variance`.
    """

    kind: ClassVar[str] = "von-mises-fisher"
    orders: ClassVar[int] = 3
    variance: float = attrs.field(default=100.0, validator=within(0.0, open_low=True))

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (AppendOne(), MinusNorm())

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return exponential(u)

    def parameter_space(self, x: Space) -> Space:
        return Space(Euclidean(base="gaussian", variance=self.variance), x.dim)
