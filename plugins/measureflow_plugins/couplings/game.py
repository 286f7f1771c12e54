"""Two-player zero-sum games of measures."""

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
class TwoPlayers(Coupling):
    """E(mu, nu) = integral l(x, y) dmu(x) dnu(y); mu descends, nu ascends (Domingo-Enrich et al. 2020).

    The payoff l is any `feature`: x, the first player `mu`, lives where the data do (source "space" says where that is
    without any data), y, the second player `nu`, where the feature's parameters do. Mixed strategies keep their mass with
    flows that `conserve` it.
    """

    kind: ClassVar[str] = "game"
    feature: Feature
    mu: str = "mu"
    nu: str = "nu"

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.mu, self.nu)

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {self.mu: x, self.nu: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        if name == self.mu:
            return Linear(reducer, self.feature, ((1.0, system[self.nu]),))
        return Linear(reducer, self.feature.T, ((-1.0, system[self.mu]),))

    def value(self, system: System, reducer: Reducer) -> Tensor:
        mu = system[self.mu]
        return reducer.total(mu, mu.mass * self.bind(self.mu, system, reducer.at(mu))(mu.points, Need.VALUE).value)

    def energy(self, system: System, reducer: Reducer) -> Potential:
        raise TypeError("a game of two players models no data, so it has no learned energy")
