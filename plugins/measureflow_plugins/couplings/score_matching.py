"""Score matching: an energy fitted to the data without samples and without a normalising constant."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature, Identity
from measureflow.core.measure import Need, System
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._slopes import Slopes, moving
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.laplacian import laplacian

RESTARTS = "coupling dual-ebm trains it, with walkers that restart (probability = 1) before they move"


@final
@attrs.frozen
class ScoreMatching(Coupling):
    """L(gamma) = mean over data of |grad f|^2 / 2 - beta^-1 (Lap f + <grad log tau, grad f>); gamma descends
    (Domingo-Enrich et al., eqs. 4 and 11; Hyvarinen 2005).

    The model is exp(-beta f) dtau, f = integral phi dgamma. On a sphere phi is zonal or radial, gradients are tangent and Lap
    is the Laplace-Beltrami operator; on R^d phi is radial; on both it may be a smooth network, differentiated by torch.
    gamma's potential is the mean over data of <grad_x phi, grad f - beta^-1 grad log tau> - beta^-1 Lap_x phi. It takes two
    derivatives of the profile to move weights and three to move points: a feature that lacks the second, and flows that need
    the third, are refused before the run.
    """

    kind: ClassVar[str] = "score-matching"
    feature: Feature
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    gamma: str = "gamma"
    data: str = "data"

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.gamma,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    def objections(self, players: Mapping[str, Sequence[object]]) -> Iterable[str]:
        phi, where = self.feature, f"coupling.feature ({self.feature.kind})"
        if phi.form == "autograd":
            return
        if phi.lifts != (Identity(), Identity()):
            yield f"{where}: no Laplacian in closed form; features of <x, theta> or |x - y| without lifts have one"
        elif phi.orders < 2:
            yield (
                f"{where}: its second derivative, which score matching takes, is a delta; raise its power to 2 (weights) or 3 "
                f"(points too); {RESTARTS}"
            )
        elif phi.orders < 3:
            yield from moving(self.gamma, players, Sphere() if phi.form == "dot" else Euclidean(), self._jumps())

    def spaces(self, x: Space) -> Mapping[str, Space]:
        try:
            laplacian(self.feature, x)
        except ValueError as error:
            raise MeasureflowError(
                f"coupling ({self.kind}): {error}; on {x.domain.kind} data use "
                + ("a radial feature, such as gaussian" if not isinstance(x.domain, Sphere) else "relu (power 2 or 3) or gaussian")
            ) from None
        return {self.gamma: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        data = system[self.data]
        residual = self._gradient(system, reducer)
        if not data.domain.flat:
            residual = residual - data.domain.score(data.points) / self.beta
        rest = (-1 / self.beta, laplacian(self.feature, Space(data.domain, data.dim)))
        why = f"coupling ({self.kind}): its gradient was asked for, and {self._jumps()}"
        return Slopes(reducer, self.feature, data, residual, self.feature.form == "autograd" or self.feature.orders >= 3, why, rest)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        data, g = system[self.data], self._gradient(system, reducer)
        lap = (
            reducer.at(data)
            .field(laplacian(self.feature, Space(data.domain, data.dim)), data.points, system[self.gamma], Need.VALUE)
            .value
        )
        if not data.domain.flat:
            lap = lap + (data.domain.score(data.points) * g).sum(1)
        return reducer.total(data, data.mass * (0.5 * g.square().sum(1) - lap / self.beta))

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return Linear(reducer, self.feature, ((1.0, system[self.gamma]),))

    def _gradient(self, system: System, reducer: Reducer) -> Tensor:
        """grad f at the data, tangent."""
        data = system[self.data]
        return data.domain.tangent(data.points, self.energy(system, reducer.at(data))(data.points, Need.GRAD).grad)

    def _jumps(self) -> str:
        return (
            f"the second derivative of {self.feature.kind} jumps, so that its mean over data gives no right gradient; move weights "
            f"only (fisher-rao, or wfr with transport = 0), or raise its power to 3; {RESTARTS}"
        )
