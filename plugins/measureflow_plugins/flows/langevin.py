"""Overdamped Langevin: the Wasserstein gradient flow of an energy plus entropy."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import MeasureflowError
from measureflow_plugins.flows._metropolis import ACCEPTED, adjusted


@final
@attrs.frozen
class Langevin(Flow):
    """dp = -r s (grad V - T grad log tau) dt + sqrt(2 T r) dW, towards exp(-V/T) dtau; T = beta^-1, r the rate.

    method "euler": drift and noise in the ambient space, then the nearest point of the domain (the authors' step on the
    sphere); "geodesic": both made tangent, then the exponential map; "metropolis": that as a proposal, accepted or refused
    so that exp(-V/T) dtau is stationary at any h (MALA on R^d), at twice the evaluations; the mark "accepted" says which.
    Where V grows faster than |x|^2 a large step far out is refused for ever: start near the law, or with small steps.
    noise "antithetic" gives atom i + N/2 the negative of atom i's noise, for walkers that start as the data twice over; each
    chain alone has the same law. At T = 0 there is nothing to adjust: "metropolis" is "geodesic".
    """

    kind: ClassVar[str] = "langevin"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    temperature: Schedule = scheduled(1.0)
    noise: Literal["plain", "antithetic"] = "plain"
    method: Literal["euler", "geodesic", "metropolis"] = "euler"

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {ACCEPTED: torch.ones_like(mu.points[:, 0])} if self.method == "metropolis" else {}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h, T = h * self.rate(context.step), self.temperature(context.step)
        if h == 0:
            return mu
        if self.noise == "antithetic" and mu.whole % 2:
            raise MeasureflowError(
                f"measures.{context.measure}.flows.{context.position}.noise: 'antithetic' pairs atom i with atom i + N/2, and "
                f"N = {mu.whole} is odd; make N even, or noise = 'plain'"
            )
        draw = context.noise.antithetic if self.noise == "antithetic" else context.noise.normal
        if self.method == "metropolis" and T > 0:
            return adjusted(mu, potential, h, T, draw(mu), context.noise.uniform(mu, "accept"))
        grad = potential(mu.points, Need.GRAD).grad
        if T == 0:
            move = grad * (-h * mu.sign)[:, None]
        else:
            move = draw(mu).mul_(math.sqrt(2 * T * h))
            move.addcmul_(grad, mu.sign[:, None], value=-h)
            if not mu.domain.flat:
                move.add_(mu.domain.score(mu.points), alpha=T * h)
        if self.method == "euler":
            return mu.replace(points=mu.domain.project(move.add_(mu.points)))
        return mu.replace(points=mu.domain.exp(mu.points, mu.domain.tangent(mu.points, move)))
