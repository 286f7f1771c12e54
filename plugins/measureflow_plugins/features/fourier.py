"""A random trigonometric payoff on the torus."""

from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Lift, Symbolic
from measureflow.core.schedule import MANY, within
from measureflow_plugins.features._waves import Waves


@final
@attrs.frozen
class Fourier(DotProduct):
    """l(x, y) = sum_k a_k cos(<m_k, x> + <n_k, y> + b_k), k = 1 .. `waves`, with angles x and y on the torus.

    a_k is N(0, 1/waves), b_k uniform, m_k and n_k integer vectors with entries up to `highest`; all drawn from `seed`,
    which is the payoff's own and not the run's.
    """

    kind: ClassVar[str] = "fourier"
    waves: int = attrs.field(default=8, validator=within(1, MANY))
    highest: int = attrs.field(default=2, validator=within(1, MANY))
    seed: int = attrs.field(default=0, validator=within(0, 2**31))
    degree: ClassVar[int] = 1
    orders: ClassVar[int] = 1

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return tuple(Waves(self.waves, self.highest, self.seed, payoff) for payoff in (False, True))  # type: ignore[return-value]

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return linear(u, order)

    def parameter_space(self, x: Space) -> Space:
        return x


def linear(u: Symbolic, order: int) -> Symbolic:
    """Derivatives of u -> u."""
    return u if order == 0 else u * 0.0 + (1.0 if order == 1 else 0.0)
