"""The arc-cosine kernel: what infinitely many random ReLU features add up to."""

import math
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Symbolic
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features._roots import root


@final
@attrs.frozen
class ArcCosine(DotProduct):
    """k(x, y) = E[relu(<x, theta>) relu(<y, theta>)] = (sqrt(1 - t^2) + (pi - acos t) t) / (2 pi d), t = <x, y>.

    x, y on S^{d-1}, theta uniform on S^{d-1}: the kernel of F2 for ReLU (Bach 2017). `dim` is the
    ambient d, which t does not show; it is held against the data's. t is clamped into [-1, 1], against rounding.
    The second derivative, 1 / (2 pi d sqrt(1 - t^2)), is not bounded. Raises MeasureflowError off the sphere or where
    `dim` is not the data's.
    """

    kind: ClassVar[str] = "arc-cosine"
    dim: int = attrs.field(validator=within(1))
    orders: ClassVar[int] = 1

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        if order > 1:
            raise ValueError(f"arc-cosine has one bounded derivative, order {order} was asked for")
        t = _clamped(u)
        sine = root(1.0 - t * t)
        angle = math.pi - sine.atan2(t)  # acos t, with a finite derivative at -1 and 1 too
        return (angle if order else sine + angle * t) * (0.5 / (math.pi * self.dim))

    def parameter_space(self, x: Space) -> Space:
        if not isinstance(x.domain, Sphere):
            raise MeasureflowError(
                f"feature arc-cosine: pairs points of a sphere, these live on {x.domain.kind}; put the data on a sphere "
                "(domain = 'sphere'), or take a radial kernel: gaussian, laplace, inverse-multiquadric, energy-distance"
            )
        if x.dim != self.dim:
            raise MeasureflowError(f"feature arc-cosine: dim = {self.dim}, and the data live in d = {x.dim}; set dim = {x.dim}")
        return x


def _clamped(u: Symbolic) -> Symbolic:
    """u in [-1, 1], in place where no gradient is needed; torch's derivative passes through."""
    if not isinstance(u, Tensor):
        return u.clamp(-1, 1)
    return u + (u.clamp(-1, 1) - u).detach() if u.requires_grad else u.clamp_(-1, 1)
