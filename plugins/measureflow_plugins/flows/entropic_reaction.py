"""Reaction with entropy: the Fisher-Rao gradient flow of energy plus T times relative entropy."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows._moves import conserved


@final
@attrs.frozen
class EntropicReaction(Flow):
    """d log w = -r (V + T log(w / w_0) - c) dt, c such that mass is kept; w_0, the masses at the start, stand for tau.

    For a frozen V the step is exact: log w goes to log w_0 - V/T at the rate r T, so that at a large rate nu is the Gibbs
    law of its potential on its own points: on a grid, training without sampling. For positive measures.
    """

    kind: ClassVar[str] = "entropic-reaction"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    parts: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)
    temperature: Schedule = scheduled(1.0)

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {"base": mu.log_mass.clone()}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h, T = h * self.rate(context.step), self.temperature(context.step)
        if h == 0:
            return mu
        V = potential(mu.points, Need.VALUE).value
        if T == 0:
            log_mass = mu.log_mass - h * V
        else:
            kept = math.exp(-h * T)
            log_mass = kept * mu.log_mass + (1 - kept) * (mu.marks["base"] - V / T)
        return conserved(mu, log_mass, context.reducer)
