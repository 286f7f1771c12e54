"""The inverse multiquadric kernel."""

import math
from typing import ClassVar, final

import attrs

from measureflow.core.feature import Radial, Symbolic
from measureflow.core.schedule import within


@final
@attrs.frozen
class InverseMultiquadric(Radial):
    """phi(x, y) = (1 + |x - y|^2 / length^2)^(-1/2): smooth, and with tails that reach far points."""

    kind: ClassVar[str] = "inverse-multiquadric"
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    orders: ClassVar[int] = 3

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        scale = 1 / self.length**2
        value = (u * scale + 1.0).rsqrt()
        square, power = value * value, value
        for _ in range(order):
            power = power * square
        return power * (math.prod(-0.5 - k for k in range(order)) * scale**order) if order else value
