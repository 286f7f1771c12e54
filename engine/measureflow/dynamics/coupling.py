"""Couplings: one functional of several measures, and the potential it gives each of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, final

import attrs
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.reduction.reducer import Reducer


class Potential(ABC):
    """What one measure wants small: a function of a point, called as `potential(at, need)`.

    It is the coupling's first variation in that measure, with the sign turned where the measure ascends: every flow
    moves down its potential. `at` is (n, d), any points of the measure's domain; the result is a `Field`.
    """

    @abstractmethod
    def __call__(self, at: Float[Tensor, "n d"], need: Need) -> Field:
        """Value (n,) and gradient (n, d) at `at`, as far as needed."""

    def reads(self, mu: Particles) -> bool:
        """Whether a call may read the atoms of `mu`: where not, they may be overwritten between calls. True if in doubt."""
        return True


@final
@attrs.frozen(eq=False)
class Linear(Potential):
    """`sum_k c_k integral phi(., y) dmu_k(y)` for terms (c_k, mu_k): the first variation of a bilinear functional."""

    reducer: Reducer
    phi: Feature
    terms: Sequence[tuple[float, Particles]]

    def __call__(self, at: Tensor, need: Need) -> Field:
        return self.reducer.fields(self.phi, at, self.terms, need)

    def reads(self, mu: Particles) -> bool:
        return any(term.shares(mu) for _, term in self.terms)


@final
@attrs.define(eq=False)
class Deferred(Potential):
    """A potential bound at its first use, so that a flow that asks nothing costs nothing."""

    bind: Callable[[], Potential]
    bound: Potential | None = None

    def __call__(self, at: Tensor, need: Need) -> Field:
        return self._now()(at, need)

    def reads(self, mu: Particles) -> bool:
        return self._now().reads(mu)

    def _now(self) -> Potential:
        if self.bound is None:
            self.bound = self.bind()
        return self.bound


class Coupling(ABC):
    """A functional E of named measures, of which some descend it and some ascend it.

    Write one to pose a new problem; it moves nothing. A subclass is a final frozen attrs class with a `kind`; the names of
    the measures it couples are its fields (`nu: str = "nu"`), so that a config can rename them. Implement

    - `moves`: the names of the measures it gives a potential to; `reads`: those it only looks at ("data");
    - `spaces(x)`: where each measure of `moves` lives, given the space of the data;
    - `bind(name, system, reducer)`: the potential of measure `name` (see `Potential` for the sign). Compute here, once,
      what does not depend on the point, and return a `Linear` where that is all there is;
    - `value(system, reducer)`: E itself, 0-d, so that a finite difference checks `bind`;
    - `energy(system, reducer)`: the learned energy f, whose Gibbs law exp(-f) dtau models the data; metrics read it. Where
      a functional learns no energy, raise TypeError with the reason.

    `measureflow.testing.check` holds `bind` against finite differences of `value`.
    """

    family: ClassVar[str] = "coupling"
    kind: ClassVar[str]

    @property
    @abstractmethod
    def moves(self) -> tuple[str, ...]:
        """Names of the measures that follow a potential of this coupling."""

    @property
    @abstractmethod
    def reads(self) -> tuple[str, ...]:
        """Names of further measures that it needs."""

    def objections(self, players: Mapping[str, Sequence[object]]) -> Iterable[str]:
        """What this coupling cannot give the flows of each measure, each as `measures.NAME.flows.I (kind): why`."""
        return ()

    @abstractmethod
    def spaces(self, x: Space) -> Mapping[str, Space]:
        """Where each measure of `moves` lives, given the space `x` of the data."""

    @abstractmethod
    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        """The potential of measure `name` at this instant."""

    @abstractmethod
    def value(self, system: System, reducer: Reducer) -> Float[Tensor, ""]:
        """E(system), without entropy terms, which the flows' noise carries."""

    @abstractmethod
    def energy(self, system: System, reducer: Reducer) -> Potential:
        """The learned energy f as a function on the data's space."""
