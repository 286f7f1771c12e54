"""The matching payoff on the torus."""

from typing import ClassVar, final

import attrs

from measureflow.domain import Space
from measureflow.feature import DotProduct, Lift, Symbolic
from measureflow_plugins.features.fourier import linear
from measureflow_plugins.features.waves import Circles


@final
@attrs.frozen
class Matching(DotProduct):
    """l(x, y) = sum_i cos(x_i - y_i) over the circles of the torus: y gains where it matches x.

    In the game it defines, measures without first harmonics, the uniform ones for instance, are the equilibria, and the
    value is 0. On a sphere "bilinear" plays the same part.
    """

    kind: ClassVar[str] = "matching"
    degree: ClassVar[int] = 1
    orders: ClassVar[int] = 1

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Circles(), Circles())

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return linear(u, order)

    def parameter_space(self, x: Space) -> Space:
        return x
