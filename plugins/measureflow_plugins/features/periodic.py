"""Radial kernels on the torus."""

from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.feature import Feature, Identity, Lift, Radial, Symbolic
from measureflow.errors import MeasureflowError
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features._waves import Circles
from measureflow_plugins.features.gaussian import Gaussian


def _plain(_instance: object, attribute: object, value: Feature) -> None:
    if value.form != "radial" or value.lifts != (Identity(), Identity()):
        raise ValueError(f"kernel {value.kind!r} is no kernel of |x - y|; use one, such as gaussian or laplace")


@final
@attrs.frozen
class Periodic(Radial):
    """phi(x, y) = rho(sum_i 4 sin^2((x_i - y_i) / 2)) on the torus, rho(|x - y|^2) a radial `kernel`.

    Each angle is taken as a point of the unit circle, and the kernel of the chords between them: so it is positive definite if
    the kernel is, and near |x - y| = 0 it is the kernel itself.
    """

    kind: ClassVar[str] = "periodic"
    kernel: Feature = attrs.field(factory=Gaussian, validator=_plain)

    @property
    def orders(self) -> int:
        return self.kernel.orders

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Circles(), Circles())

    @property
    def profile_kind(self) -> str:
        return self.kernel.profile_kind

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return self.kernel.profile(u, order)

    def parameter_space(self, x: Space) -> Space:
        if not isinstance(x.domain, Torus):
            raise MeasureflowError(f"feature periodic: pairs angles, these points live on {x.domain.kind}; use its kernel itself")
        return x
