"""The bilinear form."""

import functools
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Identity, Lift, Symbolic
from measureflow.errors import MeasureflowError
from measureflow_plugins.features.fourier import linear

Matrix = tuple[tuple[float, ...], ...]


def _rectangular(_instance: object, attribute: object, value: Matrix | None) -> None:
    if value is not None and (not value or not value[0] or len({len(row) for row in value}) > 1):
        raise ValueError(f"matrix must have rows of one length >= 1, got {[list(row) for row in value]}")


@final
@attrs.frozen
class Times(Lift):
    """y -> A y."""

    matrix: Matrix

    def forward(self, points: Tensor) -> Tensor:
        return points @ self._like(points).T

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        return cotangents @ self._like(points)

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return self.forward(vectors)

    def _like(self, points: Tensor) -> Tensor:
        return _tensor(self.matrix, points.dtype, points.device)


@functools.lru_cache(maxsize=64)
def _tensor(matrix: Matrix, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The matrix, copied to a device once: a copy at every use would make the host wait for a GPU."""
    return torch.tensor(matrix, dtype=dtype, device=device)


@final
@attrs.frozen
class Bilinear(DotProduct):
    """l(x, y) = <x, A y>: `matrix` A (d rows) in row order, the identity unless given.

    y lives on the same kind of domain as x, in as many dimensions as A has columns.
    """

    kind: ClassVar[str] = "bilinear"
    matrix: Matrix | None = attrs.field(default=None, validator=_rectangular)
    degree: ClassVar[int] = 1
    orders: ClassVar[int] = 1

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Identity(), Identity() if self.matrix is None else Times(self.matrix))

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return linear(u, order)

    def parameter_space(self, x: Space) -> Space:
        if self.matrix is None:
            return x
        if len(self.matrix) != x.dim:
            raise MeasureflowError(f"feature (bilinear): matrix has {len(self.matrix)} rows and x has d = {x.dim}; give d rows")
        return Space(x.domain, len(self.matrix[0]))
