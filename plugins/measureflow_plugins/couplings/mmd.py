"""Maximum likelihood of an energy penalised in F2: the gradient flow of a squared discrepancy."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Coupling, Potential
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._discrepancy import Discrepancy, kernel_space


@final
@attrs.frozen
class Mmd(Coupling):
    """E(nu) = MMD_k(nu, nu_n)^2 / (2 lambda); nu descends (F2 with penalty (lambda/2) |h|^2; Arbel et al. 2019).

    The maximising neuron weights are h = F_nu / lambda, so nu's potential is the learned energy f(x) = (1/lambda)
    integral k(x, .) d(nu - nu_n). `penalty` is lambda, `feature` a positive definite kernel k. A langevin flow on nu gives
    the noisy MMD flow, wasserstein the noiseless one.
    """

    kind: ClassVar[str] = "mmd"
    feature: Feature
    penalty: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    nu: str = "nu"
    data: str = "data"

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.nu,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {self.nu: kernel_space(self.feature, x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        return self.energy(system, reducer)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        return self._discrepancy().squared(system, reducer) / (2 * self.penalty)

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return self._discrepancy().witness(system, reducer, 1 / self.penalty)

    def _discrepancy(self) -> Discrepancy:
        return Discrepancy(self.feature, self.nu, self.data)
