"""Maximum likelihood of an energy in a ball of F2: the gradient flow of a discrepancy."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Coupling, Potential
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._discrepancy import Discrepancy, kernel_space


@final
@attrs.frozen
class MmdBall(Coupling):
    """E(nu) = R MMD_k(nu, nu_n), the supremum of integral f d(nu - nu_n) over |f|_F2 <= R; nu descends (Domingo-Enrich et al.).

    nu's potential is the maximiser, the learned energy f(x) = R integral k(x, .) d(nu - nu_n) / MMD, of norm R; f = 0 where
    MMD = 0 up to rounding, which is where nu starts from the data. `radius` is R, `feature` a positive definite kernel k
    (arc-cosine is F2 of ReLU). Each potential costs the discrepancy besides its own sums.
    """

    kind: ClassVar[str] = "mmd-ball"
    feature: Feature
    radius: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
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
        return self._discrepancy().squared(system, reducer).sqrt() * self.radius

    def energy(self, system: System, reducer: Reducer) -> Potential:
        squared = self._discrepancy().squared(system, reducer)
        one = torch.ones_like(squared)
        factor = torch.where(squared > 0, self.radius * torch.where(squared > 0, squared, one).rsqrt(), 0 * one)
        return Scaled(self._discrepancy().witness(system, reducer), factor)

    def _discrepancy(self) -> Discrepancy:
        return Discrepancy(self.feature, self.nu, self.data)


@final
@attrs.frozen(eq=False)
class Scaled(Potential):
    """A 0-d factor, known only on its device, times a potential."""

    inner: Potential
    factor: Tensor

    def __call__(self, at: Tensor, need: Need) -> Field:
        return self.inner(at, need).scale(self.factor)

    def reads(self, mu: Particles) -> bool:
        return self.inner.reads(mu)
