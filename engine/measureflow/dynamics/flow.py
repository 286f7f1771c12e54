"""Flows: how one measure moves down its potential."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule
from measureflow.dynamics.coupling import Potential
from measureflow.reduction.reducer import Reducer


class Flow(ABC):
    """One explicit step of one measure down its potential.

    Write one for a new way to move: transport, reaction, jumps, a projection. A subclass is a final frozen attrs class
    with a `kind`; its fields are its rates, usually `scheduled(1.0)`. Implement `step(mu, potential, h, context)`:

    - return a new measure, and change nothing in place: `mu.replace(points=...)`;
    - ask `potential(mu.points, need)` for what you need and no more; a flow that asks nothing costs nothing;
    - multiply `h` by your own rate, a schedule: `h * self.rate(context.step)`;
    - stay on `mu.domain`: use its `tangent`, `retract` or `exp`;
    - draw from `context.noise` only, with a different `draw` name for each draw of one step;
    - with rate 0, or h = 0, return the measure unchanged.

    Every flow declares `local` and `pointwise`; `parts`, `reads`, `once`, `pace` and `marks` have defaults. Flows keep no
    state: what belongs to an atom (a momentum, a previous velocity) goes into `mu.marks`, and `marks(mu, noise)` says which
    marks the flow needs and how they start. `measureflow.testing.check` tries these promises.
    """

    family: ClassVar[str] = "flow"
    kind: ClassVar[str]
    local: ClassVar[bool]
    """Each atom moves by itself, given the potential, so that the measure may be cut into blocks."""
    pointwise: ClassVar[bool]
    """The move is a gradient step at the given points, which is what extragradient needs."""
    parts: ClassVar[bool] = False
    """Sums over atoms go through `context.reducer`. A flow that is not local is then given the part of a measure that its
    process holds, otherwise all of it."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the measures that `context.take` is used on; none by default."""
        return ()

    def pace(self, step: int) -> float:
        """How much time of its own passes in the flow per unit of h: its `rate`, where it has one, else 0.

        Say otherwise where `rate` is not that: comparisons between runs read a measure's own time off it.
        """
        rate = getattr(self, "rate", None)
        return rate(step) if isinstance(rate, Schedule) else 0.0

    @property
    def once(self) -> bool:
        """Whether it acts once a step whatever h is, so that a scheme takes it in one substep only; False by default."""
        return False

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        """The marks (M, ...) that this flow needs on the atoms of `mu`, as they start and restart; none by default."""
        return {}

    @abstractmethod
    def step(self, mu: Particles, potential: Potential, h: float, context: "Context") -> Particles:
        """The measure after one step of size `h`."""


class WrappedFlow(Flow):
    """A flow that moves a measure by another one, and answers for it: what it reads, its marks, its pace, when it acts.

    Write one for a flow that takes the steps of another in its own way. Implement `inner`, usually a field, and `step`, and
    say `local` and `pointwise` of the class.
    """

    @property
    @abstractmethod
    def inner(self) -> Flow:
        """The flow that moves the measure."""

    @property
    def parts(self) -> bool:  # type: ignore[override]
        return self.inner.local or self.inner.parts

    @property
    def reads(self) -> tuple[str, ...]:
        return self.inner.reads

    @property
    def once(self) -> bool:
        return self.inner.once

    def pace(self, step: int) -> float:
        return self.inner.pace(step)

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return self.inner.marks(mu, noise)


@final
@attrs.frozen(eq=False)
class Resting(WrappedFlow):
    """The place of a flow that has no turn: the list keeps its positions and its marks, and nothing moves."""

    kind: ClassVar[str] = "resting"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    inner: Flow

    def step(self, mu: Particles, potential: Potential, h: float, context: "Context") -> Particles:
        return mu


@final
@attrs.frozen(eq=False)
class Context:
    """What a flow may use besides its measure: its place, its own noise, the reducer, the measures it reads."""

    measure: str
    """Name of the measure that the flow moves."""
    position: int
    """Index of the flow in the list `flows`."""
    flows: tuple[Flow, ...]
    """All flows of this measure, in order."""
    system: System
    """Every measure, as this one sees them now."""
    noise: Noise
    """Random numbers of this flow at this step: the same whenever the step is taken again."""
    reducer: Reducer
    """Evaluates sums over measures."""

    @property
    def step(self) -> int:
        """Number of steps done, the argument of a schedule."""
        return self.system.step

    @property
    def time(self) -> float:
        """Simulated time so far."""
        return self.system.time

    def take(self, name: str, index: Tensor) -> Particles:
        """The atoms at `index` (k,) of the measure `name`, which the flow declares in `reads`."""
        return self.reducer.take(self.system[name], index)

    def fresh(self, mu: Particles) -> Particles:
        """`mu` with all its marks started anew, for atoms that were replaced."""
        return marked(mu, self.flows, self.noise.at("fresh"))


def marked(mu: Particles, flows: tuple[Flow, ...], noise: Noise) -> Particles:
    """`mu` with the marks that its flows need, as they start."""
    marks = dict(mu.marks)
    for position, flow in enumerate(flows):
        marks.update(flow.marks(mu, noise.at("marks", position)))
    return mu.replace(marks=marks)
