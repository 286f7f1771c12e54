"""What fits of a score share: a mean of directional derivatives of phi as potential, and which flows move points."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow, marked
from measureflow.errors import MeasureflowError
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Reducer


@final
@attrs.frozen(eq=False)
class Slopes(Potential):
    """V(theta) = integral <grad_x phi(x, theta), v(x)> dmu(x) + c integral psi(x, theta) dmu(x).

    `vectors` (n, d) are v at the atoms of `mu`; psi is left out where `rest` is None. Where `smooth` is False, the gradient
    would need a derivative of phi that is no function: asked for it, raises MeasureflowError with `why`.
    """

    reducer: Reducer
    phi: Feature
    mu: Particles
    vectors: Tensor
    smooth: bool
    why: str
    rest: tuple[float, Feature] | None = None

    def __call__(self, at: Tensor, need: Need) -> Field:
        if Need.GRAD in need and not self.smooth:
            raise MeasureflowError(self.why)
        V = self.reducer.directional(self.phi.T, at, self.mu, self.vectors, need)
        if self.rest is None:
            return V
        c, psi = self.rest
        return V.plus(self.reducer.field(psi.T, at, self.mu, need).scale(c))


@final
@attrs.frozen(eq=False)
class _Asked(Potential):
    """A zero potential that notes what it is asked for."""

    needs: list[Need]

    def __call__(self, at: Tensor, need: Need) -> Field:
        self.needs.append(need)
        return Field(
            torch.zeros_like(at[:, 0]) if Need.VALUE in need else None, torch.zeros_like(at) if Need.GRAD in need else None
        )


def asks_gradients(flow: Flow, domain: Domain) -> bool:
    """Whether `flow`, tried on four atoms, asks its potential for gradients: whether it moves points down it.

    A flow that cannot be tried on so few is taken not to; the potential itself refuses it when the run comes to it.
    """
    points = domain.sample(torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    mu = marked(Particles.uniform(points, domain), (flow,), Keyed(0))
    system = System({"mu": mu, **dict.fromkeys(flow.reads, mu)})
    needs: list[Need] = []
    try:
        flow.step(mu, _Asked(needs), 1e-3, Context("mu", 0, (flow,), system, Keyed(0), Chunked()))
    except MeasureflowError:
        return False
    return any(Need.GRAD in need for need in needs)


def moving(name: str, players: Mapping[str, Sequence[Any]], domain: Domain, why: str) -> Iterable[str]:
    """An objection for each flow of measure `name` that moves points."""
    for i, flow in enumerate(players.get(name, ())):
        if asks_gradients(flow, domain):
            yield f"measures.{name}.flows.{i} ({flow.kind}): moves points, and {why}"
