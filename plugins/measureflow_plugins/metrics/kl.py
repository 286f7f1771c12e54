"""Kullback-Leibler divergence of the student from the teacher."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.measure import Need, System
from measureflow.metric import Metric, View
from measureflow.schedule import within
from measureflow_plugins.metrics.energies import learned, taught


@final
@attrs.frozen
class Kl(Metric):
    """KL(teacher | student) = log mean exp(f* - beta f) + mean(beta f - f*) over exact samples of the teacher; never negative.

    (The paper prints a plus between the energies of the second mean.) `at` names the measure of exact samples.
    """

    kind: ClassVar[str] = "kl"
    parts: ClassVar[bool] = True
    at: str = "test"
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.at, "teacher")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        at = system[self.at]
        f = learned(system, view, at, Need.VALUE).value
        gap = taught(system, view, at, Need.VALUE).value - self.beta * f
        top = view.reducer.largest(at, gap)
        total, mean = view.reducer.total(at, (gap - top).exp()), view.reducer.total(at, gap) / at.whole
        return {"kl": total.log() + top - math.log(at.whole) - mean}
