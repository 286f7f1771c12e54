"""Metrics: numbers that say how a system is doing."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.core.noise import Noise
from measureflow.dynamics.coupling import Coupling
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Truth
from measureflow.reduction.reducer import Reducer


@final
@attrs.frozen(eq=False)
class View:
    """What a metric may use besides the system: the coupling, the reducer, keyed noise, and the truth if it is known."""

    coupling: Coupling
    """The functional; `coupling.energy(system, reducer)` is the learned energy."""
    reducer: Reducer
    """Evaluates sums over measures."""
    noise: Noise
    """Random numbers that differ from step to step; `Keyed(seed)` of a metric's own gives the same at every step."""
    truth: Truth | None
    """What is known exactly about planted data; None for other data."""

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
    several numbers are "kind.part"). Leave tensors on their device: the observers read them. `reads` is required;
    `names` and `parts` have defaults. A config that lacks a measure it reads, or has two metrics that write one name, is
    refused before the run.
    """

    family: ClassVar[str] = "metric"
    kind: ClassVar[str]
    parts: ClassVar[bool] = False
    """Sums over atoms go through `view.reducer`: among several processes the system then holds parts of its measures,
    otherwise all their atoms."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of the measures it needs; "teacher" if it needs the truth."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names under which its numbers are written; by default the kind alone."""
        return (self.kind,)

    @abstractmethod
    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        """The numbers, by name."""
