"""How far two players are from equilibrium."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Noise
from measureflow.core.schedule import MANY, within
from measureflow.dynamics.coupling import Potential
from measureflow.observe.metric import Metric, View
from measureflow_plugins.flows.average import time_average

FIRST = 0.1  # length of the first trial move, halved where it does not help and doubled where it does


@final
@attrs.frozen
class NikaidoIsoda(Metric):
    """What the players could gain in all by deviating alone, each to its best point; 0 at equilibrium.

    In a game of payoff l it is max_y integral l(x, y) dmu(x) - min_x integral l(x, y) dnu(y); in a "sum" of functionals that are
    linear in each player, the sum over players of integral V dmu - |mu| min V, V its potential. Extremes are sought over `grid`
    draws of the domain's base law and the atoms, the best `starts` of which then go `ascent` steps downhill in V, so that the
    number is a lower bound that is never negative. Written as "nikaido-isoda"; with
    `average` of the time-averaged measures, which a flow "average" keeps, as "nikaido-isoda.average".
    """

    kind: ClassVar[str] = "nikaido-isoda"
    average: bool = False
    grid: int = attrs.field(default=1000, validator=within(1, MANY))
    starts: int = attrs.field(default=16, validator=within(1, MANY))
    ascent: int = attrs.field(default=30, validator=within(0, MANY))
    players: tuple[str, ...] = ("mu", "nu")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.players

    @property
    def names(self) -> tuple[str, ...]:
        return ("nikaido-isoda.average" if self.average else "nikaido-isoda",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        if self.average:
            system = system.replace({name: time_average(name, system[name], system.step) for name in self.players})
        gains = [self._gain(name, system, view) for name in self.players]
        return {self.names[0]: torch.stack(gains).sum()}

    def _gain(self, name: str, system: System, view: View) -> Tensor:
        """integral V dmu - |mu| min V: what the player gains by moving all its mass to the lowest point of its potential."""
        mu = system[name]
        V = view.coupling.bind(name, system, view.reducer)
        points = torch.cat([mu.points, self._draws(mu, view.noise.at("nikaido-isoda", name))])
        value = V(points, Need.VALUE).value
        best = value.topk(min(self.starts, len(value)), largest=False)
        lowest = torch.minimum(self._descended(V, mu, points[best.indices], best.values).min(), best.values[0])
        return view.reducer.total(mu, mu.mass * (value[: mu.size] - lowest))

    def _draws(self, mu: Particles, noise: Noise) -> Tensor:
        return mu.domain.sample(noise.normal_rows(range(self.grid), mu.dim, mu.points, "grid"))

    def _descended(self, V: Potential, mu: Particles, p: Tensor, value: Tensor) -> Tensor:
        """Values after `ascent` trial moves along the unit gradient, each kept only where it helps."""
        length = torch.full_like(value, FIRST)
        for _ in range(self.ascent):
            down = -torch.nn.functional.normalize(mu.domain.tangent(p, V(p, Need.GRAD).grad), dim=1)
            trial = mu.domain.exp(p, length[:, None] * down)
            tried = V(trial, Need.VALUE).value
            better = tried < value
            p, value = torch.where(better[:, None], trial, p), torch.where(better, tried, value)
            length = torch.where(better, 2 * length, 0.5 * length)
        return value
