"""The functional itself."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.observe.metric import Metric, View


@final
@attrs.frozen
class Objective(Metric):
    """E, the value of the coupling's functional, without the entropy that the flows' noise carries."""

    kind: ClassVar[str] = "objective"
    parts: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        return {"objective": view.coupling.value(system, view.reducer)}
