"""Dynamics: all that moves a system of measures."""

import functools
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import final

import attrs

from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.core.schedule import LARGEST, Schedule, as_schedule, within
from measureflow.dynamics.coupling import Coupling, Deferred, Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Reducer


def _tuples(flows: Mapping[str, Flow | Iterable[Flow]]) -> Mapping[str, tuple[Flow, ...]]:
    lists = {name: (each,) if isinstance(each, Flow) else tuple(each) for name, each in flows.items()}
    for name, each in lists.items():
        for i, flow in enumerate(each):
            if not isinstance(flow, Flow):
                raise TypeError(f"flows[{name!r}][{i}]: expected a flow, such as Langevin(), got {flow!r:.60}")
    return MappingProxyType(lists)


@final
@attrs.frozen(eq=False, init=False)
class Dynamics:
    """What does not change from step to step: a coupling, the flows of each measure, and how one step is computed.

    `Dynamics(coupling, {"nu": [Langevin()]}, step_size=0.02, seed=0)` needs no registry and no file. Change a part with
    `attrs.evolve(dynamics, reducer=...)`.
    """

    coupling: Coupling
    """Gives each measure its potential."""
    flows: Mapping[str, tuple[Flow, ...]] = attrs.field(converter=_tuples)
    """The flows of each moving measure, in order; the measures move in this order, unless a scheme says otherwise."""
    step_size: Schedule = attrs.field(converter=as_schedule, validator=within(0.0, LARGEST, open_low=True))
    """h, a number or a schedule; the rate of each flow multiplies it."""
    scheme: Scheme | None
    """In which order the measures see each other; None moves one after the other."""
    reducer: Reducer
    """Evaluates sums over atoms."""
    noise: Noise
    """The random numbers of every step; `seed=1` is short for `noise=Keyed(1)`, and the default is `Keyed(0)`."""
    in_place: bool
    """Whether large measures that only local flows move may overwrite their points: less memory, but old systems are lost."""
    bounds: Mapping[str, float]
    """How large a coordinate of a measure may get before the run stops because the measure ran away."""

    def __init__(
        self,
        coupling: Coupling,
        flows: Mapping[str, Flow | Iterable[Flow]],
        step_size: Schedule | float,
        scheme: Scheme | None = None,
        reducer: Reducer | None = None,
        noise: Noise | None = None,
        in_place: bool = False,
        bounds: Mapping[str, float] | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        noise = noise or Keyed(0) if seed is None else Keyed(seed)
        self.__attrs_init__(coupling, flows, step_size, scheme, reducer or Chunked(), noise, in_place, bounds or {})

    def potential(self, name: str, system: System, points: Particles | None = None) -> Potential:
        """The potential of measure `name` at this instant, bound at its first use, for points that lie as its atoms do."""
        reducer = self.reducer.at(system[name] if points is None else points)
        return Deferred(functools.partial(self.coupling.bind, name, system, reducer))

    def context(self, name: str, position: int, system: System) -> Context:
        """The context of flow number `position` of measure `name` at this instant."""
        noise = self.noise.at(name, system.step, position)
        return Context(name, position, self.flows[name], system, noise, self.reducer)

    def visible(self, flow: Flow, mu: Particles) -> Particles:
        """What a flow is given of a measure: the part held here, or all of it if the flow itself sums over atoms."""
        return mu if flow.local or flow.parts else self.reducer.whole(mu)
