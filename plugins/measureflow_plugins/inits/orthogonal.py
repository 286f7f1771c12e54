"""A measure that starts as orthonormal blocks on a sphere."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World
from measureflow_plugins.domains.sphere import Sphere


@final
@attrs.frozen
class Orthogonal(Init):
    """`size` points of S^{d-1} in blocks of `block` orthonormal vectors (d where not given), of total variation `tv`.

    Each point is uniform, so sums over the points are unbiased for integrals against tau, but points of one block repel each
    other and the sums vary less than with independent draws. antipodal: every block is followed by its negative. The
    leading blocks are complete where `block` (twice that with antipodes) divides `size`. signs as for "uniform".
    """

    kind: ClassVar[str] = "orthogonal"
    size: int = attrs.field(validator=within(1))
    block: int | None = attrs.field(default=None, validator=within(1))
    antipodal: bool = True
    signs: Literal["positive", "negative", "balanced"] = "positive"
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.size

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        points = self._points(space, setting)
        sign = torch.ones_like(points[:, 0])
        sign[: {"positive": 0, "balanced": self.size // 2, "negative": self.size}[self.signs]] = -1
        return Particles(points, sign, torch.full_like(sign, math.log(self.tv / self.size)), space.domain)

    def _points(self, space: Space, setting: Setting) -> Tensor:
        if not isinstance(space.domain, Sphere):
            where = space.domain.kind
            raise MeasureflowError(f"kind = 'orthogonal': blocks lie on a sphere, and this measure on {where}; use 'uniform'")
        d, block = space.dim, space.dim if self.block is None else self.block
        if block > d:
            raise MeasureflowError(f"block: {block} orthonormal vectors do not fit in d = {d}; at most {d} do")
        count = -(-self.size // (2 * block if self.antipodal else block))
        normal = setting.noise.normal_rows(range(count * block), d, setting.tensor([]), "points")
        frames = orthonormal(normal.view(count, block, d))
        if self.antipodal:
            frames = torch.cat([frames, -frames], 1)
        return frames.reshape(-1, d)[: self.size]


def orthonormal(normal: Tensor) -> Tensor:
    """Uniform orthonormal blocks (k, b, d) from standard normals of that shape: QR with the diagonal of R made positive."""
    Q, R = torch.linalg.qr(normal.mT)
    return (Q * R.diagonal(dim1=1, dim2=2).sign()[:, None, :]).mT
