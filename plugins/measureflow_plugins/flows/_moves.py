"""The two elementary moves that flows are made of: along the domain, and in mass."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.measure import Particles
from measureflow.reduction.reducer import Reducer

Method = Literal["euler", "geodesic"]


def displaced(mu: Particles, move: Float[Tensor, "M d"], method: Method) -> Particles:
    """Atoms moved by tangent vectors: by retraction ("euler") or by the exponential map ("geodesic")."""
    tangent = mu.domain.tangent(mu.points, move)
    go = mu.domain.exp if method == "geodesic" else mu.domain.retract
    return mu.replace(points=go(mu.points, tangent))


def downhill(mu: Particles, grad: Float[Tensor, "M d"], h: float) -> Float[Tensor, "M d"]:
    """-h s_j grad V(p_j): negative mass moves uphill. No factor w_j: this is the flow's velocity, not the loss gradient."""
    return grad * (mu.sign * -h)[:, None]


def reacted(mu: Particles, value: Float[Tensor, " M"], h: float, conserve: bool, reducer: Reducer) -> Particles:
    """log w_j <- log w_j - h (s_j V_j - c): c = 0, or the |mass|-weighted mean of s V, with |mu| then restored exactly."""
    log_mass = mu.log_mass - h * mu.sign * value
    return conserved(mu, log_mass, reducer) if conserve else mu.replace(log_mass=log_mass)


def conserved(mu: Particles, log_mass: Float[Tensor, " M"], reducer: Reducer) -> Particles:
    """`mu` with masses proportional to exp(log_mass), and the |mass| that it had."""
    log_mass = log_mass - reducer.largest(mu, log_mass)  # the largest is 1, so no exponential overflows
    before, after = (reducer.total(mu, log.exp()) for log in (mu.log_mass, log_mass))
    return mu.replace(log_mass=log_mass + torch.log(before / after))
