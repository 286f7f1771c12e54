"""Kullback-Leibler divergence of the student from the teacher."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.core.schedule import within
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._energies import learned, taught


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
        rise, mean, mass = (view.reducer.total(at, at.mass * part) for part in ((gap - top).exp(), gap, torch.ones_like(gap)))
        return {"kl": (rise / mass).log() + top - mean / mass}
