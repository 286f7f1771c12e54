"""A polynomial times the Gaussian kernel."""

from typing import ClassVar, final

import attrs

from measureflow.core.feature import Radial, Symbolic, exponential
from measureflow.core.schedule import within


@final
@attrs.frozen
class GaussianPolynomial(Radial):
    """phi(x, y) = p(r2) exp(-r2 / (2 length^2)), r2 = |x - y|^2, p with `coefficients` from the constant upwards.

    Closed under derivatives in r2, so that what Stein's operator makes of a Gaussian kernel is one of these again.
    """

    kind: ClassVar[str] = "gaussian-polynomial"
    coefficients: tuple[float, ...] = attrs.field(default=(1.0,), validator=attrs.validators.min_len(1))
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    orders: ClassVar[int] = 3

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        p = self.derivative(order).coefficients
        value = u * 0.0 + p[-1]
        for c in reversed(p[:-1]):
            value = value * u + c
        return value * exponential(u * (-0.5 / self.length**2))

    def derivative(self, order: int = 1) -> "GaussianPolynomial":
        """The derivative in r2: p' - p / (2 length^2) in the place of p, `order` times over."""
        p = self.coefficients
        for _ in range(order):
            slope = (*(k * c for k, c in enumerate(p) if k), 0.0)
            p = tuple(a - 0.5 / self.length**2 * b for a, b in zip(slope, p, strict=True))
        return attrs.evolve(self, coefficients=p)
