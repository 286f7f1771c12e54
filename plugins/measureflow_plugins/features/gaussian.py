"""The Gaussian kernel."""

from typing import ClassVar, final

import attrs

from measureflow.core.feature import Radial, Symbolic, exponential, scaled
from measureflow.core.schedule import within


@final
@attrs.frozen
class Gaussian(Radial):
    """phi(x, y) = exp(-|x - y|^2 / (2 length^2))."""

    kind: ClassVar[str] = "gaussian"
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    orders: ClassVar[int] = 3

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        slope = -0.5 / self.length**2
        value = exponential(scaled(u, slope))
        return value if order == 0 else scaled(value, slope**order)
