"""What the two kernel couplings share: the witness function of two measures and the discrepancy it gives."""

import math
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.coupling import Linear
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Reducer

ROUNDING = 4  # units of rounding, of the largest of the three means, below which a squared discrepancy counts as 0


@final
@attrs.frozen
class Discrepancy:
    """F(x) = integral k(x, .) d(nu - data) and MMD^2 = integral F d(nu - data), for a positive definite kernel k."""

    kernel: Feature
    nu: str
    data: str

    def witness(self, system: System, reducer: Reducer, factor: float = 1.0) -> Linear:
        """`factor` times F."""
        return Linear(reducer, self.kernel, ((factor, system[self.nu]), (-factor, system[self.data])))

    def squared(self, system: System, reducer: Reducer) -> Tensor:
        """MMD^2, 0-d, exactly 0 where it is no larger than rounding."""
        nu, data = system[self.nu], system[self.data]
        own, cross, still = (self._mean(a, b, reducer) for a, b in ((nu, nu), (nu, data), (data, data)))
        squared, largest = own - 2 * cross + still, torch.stack([own, cross, still]).abs().amax()
        kept = squared > ROUNDING * self._unit(data) * largest
        return torch.where(kept, squared, torch.zeros_like(squared)).to(nu.points.dtype)

    def _unit(self, data: Particles) -> float:
        """The rounding unit; a kernel with a kink at x = y sees its square root there, in one of n terms."""
        unit = torch.finfo(data.points.dtype).eps
        kinked = self.kernel.form == "radial" and self.kernel.orders < 2
        return unit + math.sqrt(unit) / data.whole if kinked else unit

    def _mean(self, a: Particles, b: Particles, reducer: Reducer) -> Tensor:
        """The double integral of k, its outer sum in double precision: the three nearly cancel."""
        inner = reducer.at(a).field(self.kernel, a.points, b, Need.VALUE).value
        return reducer.total(a, a.mass.double() * inner.double())


KERNELS = "arc-cosine (on spheres; the kernel of relu), gaussian, laplace, inverse-multiquadric, energy-distance"


def kernel_space(kernel: Feature, x: Space) -> Space:
    """Where both arguments of a kernel live, `x`; raises MeasureflowError where the feature is seen to be no kernel.

    Its matrix on 24 points of a circle must be symmetric and, against vectors of sum 0, positive: a failure is a proof, and
    finds the negative harmonics of relu in any dimension.
    """
    if kernel.parameter_space(x) != x or kernel.lifts[0] != kernel.lifts[1]:
        raise MeasureflowError(
            f"coupling.feature: {kernel.kind} treats its two arguments differently, and a discrepancy needs a kernel: {KERNELS}"
        )
    K = kernel.pair(*[_circle(x)] * 2)
    centred = K - K.mean(0) - K.mean(1, keepdim=True) + K.mean()
    least, scale = float(torch.linalg.eigvalsh((centred + centred.T) / 2)[0]), float(K.abs().max())
    if float((K - K.T).abs().max()) > 1e-6 * scale or least < -1e-6 * scale:
        raise MeasureflowError(
            f"coupling.feature: {kernel.kind} is no positive definite kernel (smallest eigenvalue {least:.2g} on a circle of 24 "
            f"points), so that its discrepancy could be negative; kernels: {KERNELS}"
        )
    return x


def _circle(x: Space) -> Tensor:
    """24 points of the domain, on a circle of the first and the last coordinate."""
    angle = torch.arange(24, dtype=torch.float64) * (2 * math.pi / 24)
    points = torch.zeros(24, x.dim, dtype=torch.float64)
    points[:, 0] = angle.cos()
    points[:, -1] += angle.sin()
    return x.domain.project(points)
