"""Birth and death: reaction by killing and cloning atoms of equal weight."""

import math
from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow


@final
@attrs.frozen
class BirthDeath(Flow):
    """Atoms are killed and cloned at the rate r (L - c) at which the reaction would move their mass (Rotskoff et al. 2019).

    L = s V; with `density`, a kernel K such as {kind = "gaussian", length = 0.2}, L = s V + T (log K*|mu| - log dtau), which
    is needed beside Langevin: V alone counts the entropy once too little and leaves a law that is too narrow (Lu, Lu, Nolen
    2019); on the torus K is a "periodic" kernel. c is the mean of L. K smooths: its length must be small against the law and
    large against the atoms' distance.

    Each place gets a whole number of atoms whose mean is M times the mass that the reaction, conserving |mu|, would give it:
    never further from it than 1, with one random shift for all (systematic resampling). Survivors keep their rows, clones with
    their signs and marks fill those of the killed. Unequal masses become equal at the first step.
    """

    kind: ClassVar[str] = "birth-death"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    density: Feature | None = None
    temperature: Schedule = scheduled(1.0)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        level = mu.sign * potential(mu.points, Need.VALUE).value
        if self.density is not None:
            level = level + self.temperature(context.step) * self._entropy(self.density, mu, context)
        shift = context.noise.uniform_rows(range(1), mu.points, "shift")
        after = mu.take(parents((mu.log_mass - h * level).softmax(0), shift))
        if mu.equal:
            return after.replace(sign=mu.sign, log_mass=mu.log_mass)
        equal = mu.log_mass.logsumexp(0) - math.log(mu.size)
        return after.replace(log_mass=equal.expand(mu.size))

    def _entropy(self, K: Feature, mu: Particles, context: Context) -> Tensor:
        density = context.reducer.field(K, mu.points, mu.replace(sign=torch.ones_like(mu.sign)), Need.VALUE).value
        return density.log() - mu.domain.log_density(mu.points)


def parents(share: Float[Tensor, " M"], shift: Float[Tensor, " 1"]) -> Int[Tensor, " M"]:
    """For each row the row it copies: row i stands M share_i times on average, rounded up or down, in its own row if at all."""
    M = share.shape[0]
    total = share.double().cumsum(0)  # in float32 the rounding of a long sum would be as large as a share
    reached = (total * (M / total[-1]) + shift).floor().long()
    reached[-1:].fill_(M)  # assigning a number would copy it from the host, which waits for a GPU
    count = reached.diff(prepend=reached.new_zeros(1))
    extra = (count - 1).clamp(min=0).cumsum(0)
    turn = (count == 0).cumsum(0) - 1  # the how manieth of the killed a row is
    rows = torch.arange(M, device=share.device)
    return torch.where(count == 0, torch.searchsorted(extra, turn.clamp(min=0), right=True).clamp(max=M - 1), rows)
