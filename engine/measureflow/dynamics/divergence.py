"""Notices a state that leaves the finite numbers or runs away, and says which flow of which measure made it so."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, final

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.core.schedule import Schedule
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow, WrappedFlow
from measureflow.errors import NonFiniteError
from measureflow.parallel.group import Alone, Team

Advance = Callable[[Dynamics, System], System]  # takes one step

RUNAWAY = 1e6  # times as far from 0 as at the start, or as 1 if that is more, a coordinate may get by default
LOOK = 10  # steps after which a run waits for the device to hear whether all is well, where nobody looks sooner
HEAVIEST = math.log(1e30)  # log-mass of an atom: its product with a potential of 1e8 still fits in float32


def sound(system: System, dynamics: Dynamics) -> Bool[Tensor, ""]:
    """Whether every moving measure is finite and within its bounds, left on the device: reading it is what waits."""
    parts = [_sound(system[name], dynamics.bounds.get(name, math.inf)) for name in dynamics.flows]
    return functools.reduce(torch.logical_and, parts) if parts else torch.ones((), dtype=torch.bool)


def _sound(mu: Particles, bound: float) -> Bool[Tensor, ""]:
    """One pass over the points, one over the log-masses and one over each mark that holds real numbers."""
    if mu.size == 0:
        return mu.points.new_ones((), dtype=torch.bool)
    light, heavy = torch.aminmax(mu.log_mass[:1] if mu.log_mass.stride(0) == 0 else mu.log_mass)
    well = _within(mu.points, bound) & (light > -math.inf) & (heavy <= HEAVIEST)
    for mark in mu.marks.values():
        if mark.is_floating_point() and mark.numel():
            well = well & _within(mark, math.inf)
    return well


def _within(tensor: Tensor, bound: float) -> Bool[Tensor, ""]:
    """Whether all numbers are finite and at most `bound` in size: a comparison with NaN is false."""
    bound = min(bound, torch.finfo(tensor.dtype).max)
    low, high = torch.aminmax(tensor)
    return (low >= -bound) & (high <= bound)


def begins_well(mu: Particles) -> bool:
    """Whether a measure may start a run: its atoms, masses and marks are finite. Waits for the device."""
    return bool(_sound(mu, math.inf))


def bounds_of(system: System, dynamics: Dynamics, times: float) -> dict[str, float]:
    """How far a coordinate of each moving measure may get: `times` as far as it starts, or as 1 where that is more."""
    starts = {name: reach(system[name]) for name in dynamics.flows}
    return {name: times * max(1.0, far) for name, far in starts.items() if math.isfinite(far)}


def reach(mu: Particles) -> float:
    """The largest size of a coordinate of the atoms that are held here. Waits for the device."""
    low, high = map(float, torch.aminmax(mu.points)) if mu.size else (0.0, 0.0)
    return max(-low, high)


@final
@attrs.define(eq=False)
class Guard:
    """Who makes sure of a run: at which steps it `looks`, the last system known to be good, and whether all went well since.

    It waits for the device where it looks, each LOOK steps and at the last one. Between, what it saw stays on the device. What
    one process of the team finds, all find.
    """

    looks: Callable[[int], bool] = lambda step: True
    team: Team = attrs.field(factory=Alone)
    good: System = attrs.field(factory=lambda: System({}), init=False)
    well: Bool[Tensor, ""] | bool = attrs.field(default=True, init=False)

    def begin(self, system: System) -> None:
        """Takes a system for good."""
        self.good, self.well = system, True

    def see(self, system: System, dynamics: Dynamics) -> None:
        """Takes note of the next system, without waiting."""
        self.well = sound(system, dynamics) & self.well

    def due(self, step: int, last: int) -> bool:
        """Whether this step is one to look at."""
        return step % LOOK == 0 or step == last or self.looks(step)

    def sure(self) -> bool:
        """Whether all systems seen since the good one were sound, in every process: waits for the device."""
        return not self.team.any(not bool(self.well))

    def blame(self, dynamics: Dynamics, until: int, advance: Advance) -> NonFiniteError:
        """Takes the steps from the good system again, and the one that fails flow by flow.

        Returns the error that names the step, the measure, the flow and the remedy, with the last good system. Steps that
        overwrite the systems they begin with cannot be taken again: the error then says so and has no such system.
        """
        if dynamics.in_place:
            return NonFiniteError(
                f"the state became non-finite or ran away by step {until}: lower step (now {dynamics.step_size(until - 1):g}); "
                "steps in place may have overwritten the state before it: in_place = false names the flow and keeps the last good "
                "state"
            )
        good = self.good
        while good.step < until:
            following = advance(dynamics, good)
            if self.team.any(not bool(sound(following, dynamics))):
                break
            good = following
        return NonFiniteError(_which(dynamics, good, advance), good)


def _which(dynamics: Dynamics, system: System, advance: Advance) -> str:
    """What to say of the step that fails from this system, which is taken again with every flow watched."""
    watched = {name: tuple(_Watched(flow, dynamics.bounds) for flow in flows) for name, flows in dynamics.flows.items()}
    try:
        advance(attrs.evolve(dynamics, flows=watched), system)
    except NonFiniteError as error:
        return str(error)
    h = dynamics.step_size(system.step)
    return f"the state became non-finite or ran away at step {system.step + 1}: lower step (now {h:g})"


@final
@attrs.frozen(eq=False)
class _Watched(WrappedFlow):
    """A flow that raises NonFiniteError, naming itself, where its result is not sound."""

    kind: ClassVar[str] = "watched"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    inner: Flow
    bounds: Mapping[str, float]

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        moved = self.inner.step(mu, potential, h, context)
        bound = self.bounds.get(context.measure, math.inf)
        told = context.reducer.team.did(lambda: _trouble(moved, bound, context.step + 1))
        if any(told):
            name, place = context.measure, f"measures.{context.measure}.flows.{context.position}"
            raise NonFiniteError(
                f"{name} {next(filter(None, told))} in its flow {self.inner.kind!r} ({place}): "
                f"lower step (now {h:g}){_rates(self.inner, place, context.step)}"
            )
        return moved


def _trouble(mu: Particles, bound: float, step: int) -> str:
    """What is wrong with the atoms that are held here; empty where nothing is."""
    if _sound(mu, bound):
        return ""
    if not all(bool(torch.isfinite(part).all()) for part in (mu.points, mu.mass, mu.log_mass)):
        return f"became non-finite at step {step}"
    for name, mark in mu.marks.items():
        if not bool(torch.isfinite(mark).all()):
            return f"became non-finite at step {step} (in its mark {name!r})"
    if float(mu.log_mass.max()) > HEAVIEST:
        return f"ran away at step {step} (an atom's mass is over 1e30)"
    return f"ran away at step {step} (a coordinate is over {bound:g}, as `runaway` sets it)"


def _rates(flow: Any, place: str, step: int) -> str:
    named = ((field.name, getattr(flow, field.name)) for field in attrs.fields(type(flow)))
    rates = [
        f"{place}.{name} (now {value(step):g})" for name, value in named if isinstance(value, Schedule) and name != "temperature"
    ]
    return f" or {' or '.join(rates)}" if rates else ""
