"""Every step sees a few of the data."""

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import attrs

from measureflow.core.measure import Particles, System
from measureflow.core.schedule import within
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme, WrappedScheme
from measureflow.errors import MeasureflowError, unknown
from measureflow_plugins.schemes.sequential import Sequential


@final
@attrs.frozen
class Minibatch(WrappedScheme):
    """Each step of `scheme` is played with `batch` atoms of the measure `of`, drawn without replacement by the keyed noise.

    Masses are scaled by n / batch, so that sums over the batch are unbiased for sums over the whole. Flows see the batch
    too: restart draws from it, and to = "own" sends walker i to atom i mod batch of it. Metrics see the whole measure.
    Raises MeasureflowError at the first step where the measure is absent or smaller than the batch.
    """

    kind: ClassVar[str] = "minibatch"
    batch: int = attrs.field(validator=within(1))
    scheme: Scheme = attrs.field(factory=Sequential)
    of: str = "data"

    @property
    def inner(self) -> Scheme:
        return self.scheme

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        if self.of in players:
            yield f"order.of: {self.of!r} moves; a batch is drawn from a measure that stands still, such as 'data'"
        yield from super().objections(players)

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        seen = system.replace({self.of: self._batch(system, dynamics)})
        return self.scheme.advance(seen, dynamics, h).replace({self.of: system[self.of]})

    def _batch(self, system: System, dynamics: Dynamics) -> Particles:
        if self.of not in system:
            raise MeasureflowError(f"order.of: {unknown('measure', self.of, system.measures)}")
        whole = system[self.of]
        n = whole.whole
        if self.batch > n:
            raise MeasureflowError(f"order.batch: {self.batch} is more than the {n} atoms of {self.of!r}; lower it")
        keys = dynamics.noise.at("minibatch", system.step).uniform_rows(range(n), whole.points, "who")
        some = dynamics.reducer.take(whole, keys.topk(self.batch).indices)
        share = math.log(n / self.batch)
        if whole.equal:  # equal masses stay stored once
            size = (self.batch,)
            return some.replace(sign=whole.sign[:1].expand(size), log_mass=(whole.log_mass[:1] + share).expand(size))
        return some.replace(log_mass=some.log_mass + share)
