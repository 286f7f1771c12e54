"""ReLU^k features."""

import math
from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Symbolic, heaviside, positive
from measureflow.core.schedule import within


@final
@attrs.frozen
class Relu(DotProduct):
    """phi(x, theta) = max(<x, theta>, 0)^power; theta lives where x does (on spheres: F1 and F2 of Bach 2017).

    On spheres no measure of these neurons has a harmonic of degree above `power` and of the same parity: with power 1, of odd
    degree 3, 5, ... For data on a sphere that are not planted, `relu-affine` has a bias and lacks none.
    """

    kind: ClassVar[str] = "relu"
    power: int = attrs.field(default=1, validator=within(1))

    @property
    def degree(self) -> int:
        return self.power

    @property
    def orders(self) -> int:
        return self.power

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return relu_power(u, self.power, order)

    def parameter_space(self, x: Space) -> Space:
        return x


def relu_power(u: Symbolic, power: int, order: int) -> Symbolic:
    """Derivative of the given order of max(u, 0)^power; the derivative of order `power` is a step, 0 at 0."""
    left = power - order
    if left < 0:
        raise ValueError(f"relu^{power} has {power} bounded derivatives, order {order} was asked for")
    factor = math.perm(power, order)
    if left == 0:
        value = heaviside(u)
    else:
        base = positive(u)
        value = base
        for _ in range(left - 1):
            value = value * base
    return value if factor == 1 else value * float(factor)
