"""Plain torch with its own differentiation: the energy is written, every gradient follows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from peers import loop
from peers.problem import Problem


def steps(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step."""
    return loop.steps(problem, slope, force)


def slope(X: Tensor, theta: Tensor, masses: Tensor) -> Tensor:
    """The gradient at every x_i of the energy sum_j masses_j relu(<x_i, theta_j>), (N, d)."""
    X = X.detach().requires_grad_()
    energy = torch.relu(X @ theta.T) @ masses
    return torch.autograd.grad(energy.sum(), X)[0]


def force(X: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """The neurons' means (m,) and their gradient (m, d)."""
    theta = theta.detach().requires_grad_()
    F = torch.relu(X @ theta.T).mean(0)
    return F.detach(), torch.autograd.grad(F.sum(), theta)[0]
