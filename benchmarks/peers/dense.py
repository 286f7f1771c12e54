"""Plain torch: whole N x m matrices, gradients written by hand."""

from collections.abc import Iterator

from torch import Tensor

from peers import loop
from peers.problem import Problem


def steps(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step."""
    return loop.steps(problem, slope, force)


def slope(X: Tensor, theta: Tensor, masses: Tensor) -> Tensor:
    """sum_j masses_j 1[<x_i, theta_j> > 0] theta_j, (N, d)."""
    return _active(X, theta) @ (theta * masses[:, None])


def force(X: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and its gradient, (m,) and (m, d); the mean is <gradient, theta>, since ReLU is homogeneous."""
    G = _active(X, theta).T @ X / len(X)
    return (G * theta).sum(1), G


def _active(X: Tensor, theta: Tensor) -> Tensor:
    return (X @ theta.T > 0).to(X.dtype)
