"""How long a step of an experiment takes, at other sizes than its own."""

import math
import statistics
from collections.abc import Mapping, Sequence

import attrs
import torch

from measureflow.api import Dynamics, MeasureflowError, Particles, System, advance
from measureflow.reduction.reducer import Local, Reducer, Request, auto


def resized(system: System, sizes: Mapping[str, int]) -> System:
    """The same system with measures of other sizes: atoms repeated or dropped, each measure's total mass kept.

    What a step costs depends on sizes alone, so this serves to time it, not to run it. Raises MeasureflowError where a name
    is no measure.
    """
    missing = [name for name in sizes if name not in system]
    if missing:
        raise MeasureflowError(f"size: there is no measure {missing[0]!r}; this experiment has {', '.join(system.measures)}")
    return system.replace({name: _repeated(system[name], size) for name, size in sizes.items()})


def _repeated(mu: Particles, size: int) -> Particles:
    index = torch.arange(size, device=mu.points.device) % mu.size
    shift = math.log(mu.size / size)
    if mu.equal:  # stays known to be equal
        sign, log_mass = mu.sign[:1].expand(size), (mu.log_mass[:1] + shift).expand(size)
        marks = {name: mark[index] for name, mark in mu.marks.items()}
        return Particles(mu.points[index], sign, log_mass, mu.domain, marks)
    taken = mu.take(index)
    return taken.replace(log_mass=taken.log_mass + shift)


def through(reducer: Reducer, dynamics: Dynamics) -> Dynamics:
    """The same dynamics with its sums evaluated by `reducer`."""
    return attrs.evolve(dynamics, reducer=reducer)


def pairs(dynamics: Dynamics, system: System) -> int:
    """Pair interactions of one step: n x m summed over its reductions, as a reducer is asked for them."""
    asked: list[int] = []
    reducer = dynamics.reducer
    if not isinstance(reducer, Local):
        raise MeasureflowError(f"reducer: {reducer} hides its reductions, so that pairs cannot be counted; name a local one")

    def pick(request: Request) -> Local:
        asked.append(request.n_out * request.n_in)
        return reducer

    advance(through(auto(pick), dynamics), system)
    return sum(asked)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The least-squares slope of log seconds against log size."""
    x, y = [math.log(size) for size in sizes], [math.log(second) for second in seconds]
    return statistics.linear_regression(x, y).slope
