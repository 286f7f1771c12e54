"""Signed mass of a measure."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.observe.metric import Metric, View


@final
@attrs.frozen
class Mass(Metric):
    """The signed total mass; written as "mass", or "mass.NAME" for another measure than gamma."""

    kind: ClassVar[str] = "mass"
    parts: ClassVar[bool] = True
    of: str = "gamma"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("mass" if self.of == "gamma" else f"mass.{self.of}",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu = system[self.of]
        return {self.names[0]: view.reducer.total(mu, mu.mass)}
