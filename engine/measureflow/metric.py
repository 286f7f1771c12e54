"""Metrics: numbers that say how a system is doing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.coupling import Coupling
from measureflow.errors import MeasureflowError
from measureflow.measure import System
from measureflow.noise import Noise
from measureflow.reduce import Reducer
from measureflow.source import Truth


@final
@attrs.frozen(eq=False)
class View:
    """What a metric may use besides the system: the coupling, the reducer, keyed noise, and the truth where one is known."""

    coupling: Coupling
    reducer: Reducer
    noise: Noise
    truth: Truth | None

    @property
    def planted(self) -> Truth:
        """The truth; raises MeasureflowError where the data have no teacher whose law is known."""
        if self.truth is None:
            raise MeasureflowError(
                "metrics: one compares with the law of a planted teacher, which data.kind = 'teacher' has; remove it"
            )
        return self.truth


class Metric(ABC):
    """Named numbers read off a system; pure.

    Write one for a new diagnostic. A subclass is a final frozen attrs class with a `kind`. Implement `measure(system,
    view)`: a dict of name -> 0-d tensor or float, the names under which they stand in metrics.jsonl (`kl` writes "kl";
    several numbers are "kind.part"). Leave tensors on their device: the observers read them. `reads` names the measures it
    needs, "teacher" where it needs the truth, and `names` what it writes, so that a config that lacks a measure it reads,
    or has two metrics that write one name, is refused before the run. `parts` says that sums over atoms go through
    `view.reducer`: among several processes the system then holds parts of its measures, else all atoms of them.
    """

    family: ClassVar[str] = "metric"
    kind: ClassVar[str]
    parts: ClassVar[bool] = False

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the measures it needs."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which its numbers are written; its kind, unless it says otherwise."""
        return (self.kind,)

    @abstractmethod
    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        """The numbers, by name."""
