"""Denoising score matching: an energy fitted to the noise that was put on the data."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._slopes import Slopes, moving
from measureflow_plugins.domains.euclidean import Euclidean

MOST = 1024  # copies of the data, which are held at one time


@final
@attrs.frozen
class Denoising(Coupling):
    """L(gamma) = mean of |grad f(x + s zeta) - beta^-1 (zeta / s + grad log tau)|^2 / 2 over data and noise; gamma descends
    (Vincent 2011).

    The model is exp(-beta f) dtau on R^d; grad log tau is taken at the noisy point x~ = x + s zeta. gamma's potential is the
    mean of <grad_x phi(x~, theta), the residual>: one derivative of phi moves weights and two move points, so that phi may
    be rougher than in score matching by one order, and may have lifts. s is `noise`.

    A coupling draws nothing, so zeta is part of the functional: standard normals keyed by `seed`, the atom's row and the
    copy, `copies` for each data point, half of them the other half's negatives where `antithetic`. They stay the same all
    along, or, where `draw` is "every-step", are others at every step.
    """

    kind: ClassVar[str] = "denoising"
    feature: Feature
    noise: float = attrs.field(validator=within(0.0, open_low=True))
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    copies: int = attrs.field(default=2, validator=within(1, MOST))
    antithetic: bool = True
    draw: Literal["once", "every-step"] = "once"
    seed: int = attrs.field(default=0, validator=within(0, 2**63))
    gamma: str = "gamma"
    data: str = "data"

    def __attrs_post_init__(self) -> None:
        if self.antithetic and self.copies % 2:
            raise ValueError(f"copies = {self.copies}: antithetic noise comes in pairs; make copies even, or antithetic = false")

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.gamma,)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.data,)

    @property
    def smooth(self) -> bool:
        """Whether phi has the two derivatives that moving points takes."""
        return self.feature.form == "autograd" or self.feature.orders >= 2

    def objections(self, players: Mapping[str, Sequence[object]]) -> Iterable[str]:
        if not self.smooth:
            yield from moving(self.gamma, players, Euclidean(), self._jumps())

    def spaces(self, x: Space) -> Mapping[str, Space]:
        if not isinstance(x.domain, Euclidean):
            raise MeasureflowError(
                f"coupling ({self.kind}): adds Gaussian noise, so the data must be euclidean, not {x.domain.kind}"
            )
        return {self.gamma: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        noisy, target = self._noisy(system)
        why = f"coupling ({self.kind}): its gradient was asked for, and {self._jumps()}"
        return Slopes(reducer, self.feature, noisy, self._residual(noisy, target, system, reducer), self.smooth, why)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        noisy, target = self._noisy(system)
        return reducer.total(noisy, noisy.mass * 0.5 * self._residual(noisy, target, system, reducer).square().sum(1))

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return Linear(reducer, self.feature, ((1.0, system[self.gamma]),))

    def _residual(self, noisy: Particles, target: Tensor, system: System, reducer: Reducer) -> Tensor:
        return self.energy(system, reducer.at(noisy))(noisy.points, Need.GRAD).grad - target

    def _noisy(self, system: System) -> tuple[Particles, Tensor]:
        """The data with noise, `copies` times over, and beta^-1 (zeta / s + grad log tau) there."""
        data = system[self.data]
        key = Keyed(self.seed).at("denoising", *([system.step] if self.draw == "every-step" else []))
        draws = self.copies // 2 if self.antithetic else self.copies
        zeta = torch.cat([key.at(copy).normal(data) for copy in range(draws)])
        zeta = torch.cat([zeta, -zeta]) if self.antithetic else zeta
        points = data.points.repeat(self.copies, 1) + self.noise * zeta
        copied = {"sign": data.sign.repeat(self.copies), "log_mass": (data.log_mass - math.log(self.copies)).repeat(self.copies)}
        place = {"offset": data.offset * self.copies, "whole": data.whole * self.copies}
        noisy = data.replace(points=points, **copied, **place, marks={})
        target = zeta / self.noise
        return noisy, (target if data.domain.flat else target + data.domain.score(points)) / self.beta

    def _jumps(self) -> str:
        return (
            f"the derivative of {self.feature.kind} jumps, so that its mean over data gives no right gradient; move weights only "
            "(fisher-rao, or wfr with transport = 0), or raise its power to 2"
        )
