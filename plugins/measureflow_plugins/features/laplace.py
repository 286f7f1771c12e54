"""The Laplace kernel."""

from typing import ClassVar, final

import attrs

from measureflow.core.feature import Radial, Symbolic
from measureflow.core.schedule import within
from measureflow_plugins.features._roots import inverse, root


@final
@attrs.frozen
class Laplace(Radial):
    """phi(x, y) = exp(-r / length), r = |x - y|; its gradient, of norm exp(-r / length) / length, is 0 at x = y by convention.

    rho' = -exp(-r / length) / (2 length r) is not bounded there, only its product with x - y; no second derivative is
    offered. Sums from matrix products know r to the square root of the rounding unit: 1e-8 in float64, 3e-4 in float32.
    """

    kind: ClassVar[str] = "laplace"
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    orders: ClassVar[int] = 1

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        if order > 1:
            raise ValueError(f"laplace has one bounded gradient, a derivative of order {order} was asked for")
        r = root(u)
        value = (r * (-1 / self.length)).exp()
        return value * inverse(r) * (-0.5 / self.length) if order else value
