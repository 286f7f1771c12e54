"""Least squares by a mean-field two-layer network."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, System
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._targets import targets


@final
@attrs.frozen
class Regression(Coupling):
    """E(gamma) = 1/2 mean (f_gamma(x_i) - y_i)^2, f_gamma(x) = integral phi(x, theta) dgamma; gamma descends.

    The first variation, mean (f_gamma(x_i) - y_i) phi(x_i, theta), is the potential of a signed measure on the data
    whose masses are the residuals over n (Chizat and Bach 2018; Mei, Montanari, Nguyen 2018; Rotskoff and Vanden-Eijnden
    2019). Targets y (n,) are the mark "y" on the measure `data`. `energy` is f_gamma itself, the prediction.
    """

    kind: ClassVar[str] = "regression"
    feature: Feature
    gamma: str = "gamma"
    data: str = "data"

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.gamma,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {self.gamma: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        data = system[self.data]
        r = self._residual(system, reducer)
        sign = torch.where(r < 0, -data.sign, data.sign)  # log 0 is -inf, whose mass is 0: a perfect fit pulls at nothing
        signed = data.replace(sign=sign, log_mass=data.log_mass + r.abs().log(), marks={})
        return Linear(reducer, self.feature.T, ((1.0, signed),))

    def value(self, system: System, reducer: Reducer) -> Tensor:
        data = system[self.data]
        return 0.5 * reducer.total(data, data.mass * self._residual(system, reducer).square())

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return Linear(reducer, self.feature, ((1.0, system[self.gamma]),))

    def _residual(self, system: System, reducer: Reducer) -> Tensor:
        data = system[self.data]
        return self.energy(system, reducer.at(data))(data.points, Need.VALUE).value - targets(system, self.data)
