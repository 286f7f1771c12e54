"""Maximum likelihood of an energy in the F1 ball as a game between samples and neurons."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, System
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.reduction.reducer import Reducer


@final
@attrs.frozen
class DualEbm(Coupling):
    """E(nu, gamma) = integral phi d(nu - nu_n) dgamma; nu descends, gamma ascends (Domingo-Enrich et al., eq. 5).

    The entropy beta^-1 KL(nu | tau) is carried by the noise of nu's flow. nu's potential is the energy f_gamma(x) =
    integral phi(x, theta) dgamma; gamma's is -F_nu(theta) = -integral phi(x, theta) d(nu - nu_n).
    """

    kind: ClassVar[str] = "dual-ebm"
    feature: Feature
    nu: str = "nu"
    gamma: str = "gamma"
    data: str = "data"

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.nu, self.gamma)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {self.nu: x, self.gamma: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        if name == self.nu:
            return self.energy(system, reducer)
        return Linear(reducer, self.feature.T, ((1.0, system[self.data]), (-1.0, system[self.nu])))

    def value(self, system: System, reducer: Reducer) -> Tensor:
        nu, data = system[self.nu], system[self.data]
        f = [self.energy(system, reducer.at(mu))(mu.points, Need.VALUE).value for mu in (nu, data)]
        return reducer.total(nu, nu.mass * f[0]) - reducer.total(data, data.mass * f[1])

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return Linear(reducer, self.feature, ((1.0, system[self.gamma]),))
