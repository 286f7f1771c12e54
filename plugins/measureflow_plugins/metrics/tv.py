"""Total variation of a measure."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.observe.metric import Metric, View


@final
@attrs.frozen
class Tv(Metric):
    """TV = sum |mass| = mean w; written as "tv", or "tv.NAME" for another measure than gamma."""

    kind: ClassVar[str] = "tv"
    parts: ClassVar[bool] = True
    of: str = "gamma"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("tv" if self.of == "gamma" else f"tv.{self.of}",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu = system[self.of]
        return {self.names[0]: view.reducer.total(mu, mu.log_mass.exp())}
