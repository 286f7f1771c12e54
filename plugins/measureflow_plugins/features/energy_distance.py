"""The kernel of the energy distance."""

from typing import ClassVar, final

import attrs

from measureflow.core.feature import Radial, Symbolic
from measureflow_plugins.features._roots import inverse, root


@final
@attrs.frozen
class EnergyDistance(Radial):
    """phi(x, y) = -|x - y|; its gradient, a unit vector, is 0 at x = y by convention.

    Positive definite only against measures of total mass 0: a discrepancy needs two measures of the same mass. Rounding
    and derivatives are as for the Laplace kernel.
    """

    kind: ClassVar[str] = "energy-distance"
    orders: ClassVar[int] = 1

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        if order > 1:
            raise ValueError(f"energy-distance has one bounded gradient, a derivative of order {order} was asked for")
        r = root(u)
        return inverse(r) * -0.5 if order else r * -1.0
