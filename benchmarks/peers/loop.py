"""What the torch peers share: everything of a step but its sums over pairs, which cost N m d where this costs (N + m) d."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from peers.problem import RADIUS, Problem

Slope = Callable[[Tensor, Tensor, Tensor], Tensor]
Force = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def steps(problem: Problem, slope: Slope, force: Force) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step.

    `slope(X, theta, masses)` (N, d) is the gradient of sum_j masses_j relu(<x_i, theta_j>) at every x_i; `force(X, theta)` are
    F_j = mean_i relu(<x_i, theta_j>) (m,) and its gradient in theta_j (m, d).
    """
    X, theta, s, w, data = problem.X, problem.theta, problem.s, problem.w, problem.data
    while True:
        half = problem.normals()
        noise = torch.cat([half, -half]) * math.sqrt(2 * problem.h)
        X = _unit(X - problem.h * slope(X, theta, s * w / len(w)) + noise)
        (F, G), (F_data, G_data) = force(X, theta), force(data, theta)
        theta, w = _trained(theta, s, w, F - F_data, G - G_data, problem.h * problem.a)
        yield X, theta, w


def _trained(theta: Tensor, s: Tensor, w: Tensor, F: Tensor, G: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """Wasserstein-Fisher-Rao, then the ball of total variation."""
    G = G - theta * (G * theta).sum(1, keepdim=True)
    w = w * torch.exp(eta * s * F)
    return _unit(theta + eta * s[:, None] * G), w * (RADIUS / w.mean().clamp(min=RADIUS))


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)
