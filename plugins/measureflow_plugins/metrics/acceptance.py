"""Acceptance rate of Metropolis steps."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric, View
from measureflow_plugins.flows._metropolis import ACCEPTED


@final
@attrs.frozen
class Acceptance(Metric):
    """Share of the atoms whose last Metropolis proposal was accepted; 1 before the first step.

    Written as "acceptance", or "acceptance.NAME" for another measure than nu.
    """

    kind: ClassVar[str] = "acceptance"
    parts: ClassVar[bool] = True
    of: str = "nu"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("acceptance" if self.of == "nu" else f"acceptance.{self.of}",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu = system[self.of]
        if ACCEPTED not in mu.marks:
            raise MeasureflowError(
                f"measures.{self.of}.flows: nothing is accepted or refused; use {{kind = 'langevin', method = 'metropolis'}}"
            )
        return {self.names[0]: view.reducer.total(mu, mu.marks[ACCEPTED]) / mu.whole}
