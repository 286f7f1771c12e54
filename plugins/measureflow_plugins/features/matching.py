"""The matching payoff on the torus."""

from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Lift, Symbolic
from measureflow_plugins.features._waves import Circles
from measureflow_plugins.features.fourier import linear


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
