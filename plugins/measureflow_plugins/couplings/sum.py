"""Several functionals at once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.dynamics.coupling import Coupling, Potential
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Reducer


def _some(_instance: object, attribute: object, value: tuple[Coupling, ...]) -> None:
    if not value:
        raise ValueError("couplings must name at least one coupling")


@final
@attrs.frozen
class Sum(Coupling):
    """E = sum_k c_k E_k over `couplings`, with `weights` c_k, all 1 unless given; measures meet by name.

    A measure's potential is the weighted sum of what each part makes it want small, so a part in which it ascends still
    pulls it up. `energy` is that of the first part that learns one, unweighted: where that part's weight is c, the law of samples
    that follow it is exp(-c f), so give the metrics that compare the two (kl, nll, score, gap, gibbs-energy, kernel-stein)
    beta = c.
    """

    kind: ClassVar[str] = "sum"
    couplings: tuple[Coupling, ...] = attrs.field(validator=_some)
    weights: tuple[float, ...] | None = None

    def __attrs_post_init__(self) -> None:
        given = self.weights
        if given is not None and (len(given) != len(self.couplings) or not all(map(math.isfinite, given))):
            raise ValueError(f"{len(self.couplings)} couplings need as many finite weights, got {list(given)}")

    @property
    def moves(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.couplings for name in part.moves))

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.couplings for name in part.reads if name not in self.moves))

    def objections(self, players: Mapping[str, Sequence[object]]) -> Iterable[str]:
        return [said for part in self.couplings for said in part.objections(players)]

    def spaces(self, x: Space) -> Mapping[str, Space]:
        found: dict[str, Space] = {}
        for i, part in enumerate(self.couplings):
            for name, space in part.spaces(x).items():
                if found.setdefault(name, space) != space:
                    raise MeasureflowError(
                        f"coupling.couplings.{i} ({part.kind}): puts {name!r} on {space}, a part before it on {found[name]}; "
                        "parts that share a measure must agree where it lives"
                    )
        return found

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        return _Total([(c, part.bind(name, system, reducer)) for c, part in self._terms if name in part.moves])

    def value(self, system: System, reducer: Reducer) -> Tensor:
        first, *rest = [part.value(system, reducer) * c for c, part in self._terms]
        return sum(rest, start=first)

    def energy(self, system: System, reducer: Reducer) -> Potential:
        for part in self.couplings:
            try:
                return part.energy(system, reducer)
            except TypeError:
                continue
        raise TypeError("none of the couplings in this sum learns an energy")

    @property
    def _terms(self) -> list[tuple[float, Coupling]]:
        return list(zip(self.weights or [1.0] * len(self.couplings), self.couplings, strict=True))


@final
@attrs.frozen(eq=False)
class _Total(Potential):
    """A weighted sum of potentials."""

    terms: Sequence[tuple[float, Potential]]

    def __call__(self, at: Tensor, need: Need) -> Field:
        first, *rest = [part(at, need).scale(c) for c, part in self.terms]
        for field in rest:
            first = first.plus(field)
        return first

    def reads(self, mu: Particles) -> bool:
        return any(part.reads(mu) for _, part in self.terms)
