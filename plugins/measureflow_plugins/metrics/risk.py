"""Mean squared error of a regression."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.observe.metric import Metric, View
from measureflow_plugins.couplings._targets import targets
from measureflow_plugins.metrics._energies import learned


@final
@attrs.frozen
class Risk(Metric):
    """mean (f(x_i) - y_i)^2 over each measure of `of`, written as "risk.NAME"; twice the functional on the data."""

    kind: ClassVar[str] = "risk"
    parts: ClassVar[bool] = True
    of: tuple[str, ...] = ("data", "test")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.of

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"risk.{name}" for name in self.of)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        return {f"risk.{name}": self._risk(name, system, view) for name in self.of}

    def _risk(self, name: str, system: System, view: View) -> Tensor:
        mu = system[name]
        error = learned(system, view, mu, Need.VALUE).value - targets(system, name)
        return view.reducer.total(mu, mu.mass * error.square()) / view.reducer.total(mu, mu.mass)
