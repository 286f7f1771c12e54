"""ReLU^k features with a bias, for Euclidean data."""

from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.feature import AppendOne, DotProduct, Lift, Normalise, Symbolic
from measureflow.core.schedule import within
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import relu_power


@final
@attrs.frozen
class ReluAffine(DotProduct):
    """phi(x, theta) = max(<(x, 1), theta> / |theta|, 0)^power on R^d x R^{d+1} (Domingo-Enrich et al., Assumption 1).

    phi does not see |theta|, so theta starts uniform and stays on the unit sphere of R^{d+1}.
    """

    kind: ClassVar[str] = "relu-affine"
    power: int = attrs.field(default=1, validator=within(1))

    @property
    def degree(self) -> int:
        return self.power

    @property
    def orders(self) -> int:
        return self.power

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (AppendOne(), Normalise())

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return relu_power(u, self.power, order)

    def parameter_space(self, x: Space) -> Space:
        return Space(Sphere(), x.dim + 1)
