"""Means of the learned energy."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._energies import learned


@final
@attrs.frozen
class Energy(Metric):
    """Mean of f under each measure of `of`, written as "energy.NAME"; the game is over where nu's and the data's agree."""

    kind: ClassVar[str] = "energy"
    parts: ClassVar[bool] = True
    of: tuple[str, ...] = ("nu", "data")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.of

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"energy.{name}" for name in self.of)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        return {f"energy.{name}": self._mean(name, system, view) for name in self.of}

    def _mean(self, name: str, system: System, view: View) -> Tensor:
        mu = system[name]
        f = learned(system, view, mu, Need.VALUE).value
        return view.reducer.total(mu, mu.mass * f) / view.reducer.total(mu, mu.mass)
