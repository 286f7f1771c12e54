"""What the two kernel couplings share: the witness function of two measures and the discrepancy it gives."""

import math
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.coupling import Linear
from measureflow.domain import Space
from measureflow.errors import MeasureflowError
from measureflow.feature import Feature
from measureflow.measure import Need, Particles, System
from measureflow.reduce import Reducer

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
        inner = reducer.field(self.kernel, a.points, b, Need.VALUE).value
        return reducer.total(a, a.mass.double() * inner.double())


def kernel_space(kernel: Feature, x: Space) -> Space:
    """Where both arguments of a kernel live, `x`; raises MeasureflowError where the feature's two sides differ."""
    if kernel.parameter_space(x) != x or kernel.lifts[0] != kernel.lifts[1]:
        raise MeasureflowError(
            f"coupling.feature: {kernel.kind} treats its two arguments differently, and a discrepancy needs a kernel: "
            "arc-cosine (on spheres), gaussian, laplace, inverse-multiquadric, energy-distance"
        )
    return x
