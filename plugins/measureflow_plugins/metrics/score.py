"""Score matching distance between student and teacher."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.core.schedule import within
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._energies import learned, taught


@final
@attrs.frozen
class Score(Metric):
    """mean |P (beta grad f - grad f*)|^2 over exact samples of the teacher, P the tangent projection, for a model exp(-beta f)."""

    kind: ClassVar[str] = "score"
    parts: ClassVar[bool] = True
    at: str = "test"
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.at, "teacher")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        at = system[self.at]
        gap = self.beta * learned(system, view, at, Need.GRAD).grad - taught(system, view, at, Need.GRAD).grad
        square = at.domain.tangent(at.points, gap).square().sum(1)
        return {"score": view.reducer.total(at, at.mass * square) / view.reducer.total(at, at.mass)}
