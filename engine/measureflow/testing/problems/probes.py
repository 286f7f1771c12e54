"""What a wrapper is tried around: a flow and a scheme that count their steps in a mark."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.core.noise import Noise
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow, WrappedFlow
from measureflow.dynamics.scheme import Scheme, WrappedScheme
from measureflow.testing.promise import InapplicableError

COUNT = "count"  # the mark (M,), and the name of a measure that the counting flow reads


@final
@attrs.frozen
class CountingFlow(WrappedFlow):
    """Another flow, whose steps are counted on each atom."""

    kind: ClassVar[str] = "counting"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    inner: Flow

    @property
    def reads(self) -> tuple[str, ...]:
        return (*self.inner.reads, COUNT)

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {**self.inner.marks(mu, noise), COUNT: torch.zeros_like(mu.points[:, 0])}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return _counted(self.inner.step(mu, potential, h, context), mu)


@final
@attrs.frozen
class CountingScheme(WrappedScheme):
    """Another scheme, whose steps are counted on each atom; it objects to every list."""

    kind: ClassVar[str] = "counting"
    OBJECTION: ClassVar[str] = "measures: (counting): objects to every list"
    inner: Scheme

    @property
    def in_place(self) -> bool:  # type: ignore[override]
        return False

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        return (*self.inner.objections(players), self.OBJECTION)

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return {**self.inner.marks(mu), COUNT: torch.zeros_like(mu.points[:, 0])}

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        after = self.inner.advance(system, dynamics, h)
        return after.replace({name: _counted(after[name], system[name]) for name in dynamics.flows})


def _counted(after: Particles, before: Particles) -> Particles:
    """One more than before, if the count was started; whatever the probed component does with marks that are not its own."""
    return after.replace(marks={**after.marks, COUNT: before.marks[COUNT] + 1}) if COUNT in before.marks else after


def around(component: Any, family: type, probe: Callable[[Any], Any]) -> Iterator[Any]:
    """The component with the probe around each component of its own family that it wraps."""
    held = [field for field in attrs.fields(type(component)) if isinstance(getattr(component, field.name), family)]
    if not held:
        raise InapplicableError(f"it wraps no {component.family}")
    for field in held:
        yield attrs.evolve(component, **{field.alias: probe(getattr(component, field.name))})
