"""One step of Algorithm 1 as a bare torch loop over row blocks: what the engine's overhead is measured against.

Same order (sequential), same blocks, same number of normals (antithetic pairs) as the engine's step.
"""

import math
from collections.abc import Iterator

import torch
from peers.problem import RADIUS, Problem
from torch import Tensor

BLOCK = 2**20  # numbers in a block of products: the engine's tile


def steps(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step."""
    X, theta, w, m = problem.X, problem.theta, problem.w, len(problem.w)
    buffer = X.new_empty(BLOCK // m, m)
    while True:
        X, theta, w = step(X, theta, problem.s, w, problem.data, problem.h, problem.a, buffer, problem.normals())
        yield X, theta, w


def particle_pass(X: Tensor, theta: Tensor, masses: Tensor, buffer: Tensor) -> Tensor:
    """sum_j masses_j 1[<x, theta_j> > 0] theta_j for every row of X."""
    rows, d = len(buffer), X.shape[1]
    weighted, out = theta.new_zeros(len(theta), -(-d // 16) * 16), torch.empty_like(X)
    weighted[:, :d] = theta * masses[:, None]
    for i in range(0, len(X), rows):
        block = X[i : i + rows]
        u = torch.mm(block, theta.T, out=buffer[: len(block)])
        out[i : i + rows] = torch.mm(u.gt_(0), weighted)[:, :d]
    return out


def neuron_pass(X: Tensor, theta: Tensor, buffer: Tensor) -> Tensor:
    """mean_i 1[<x_i, theta> > 0] x_i for every neuron."""
    rows = len(buffer)
    out = torch.zeros_like(theta.T)
    for i in range(0, len(X), rows):
        block = X[i : i + rows]
        u = torch.mm(block, theta.T, out=buffer[: len(block)])
        out.addmm_(block.T, u.gt_(0))
    return out.T.div(len(X))


def step(
    X: Tensor, theta: Tensor, s: Tensor, w: Tensor, data: Tensor, h: float, a: float, buffer: Tensor, half: Tensor
) -> tuple[Tensor, ...]:
    """(X, theta, w) one step later; the buffer has (rows of a block, m) numbers, half (N/2, d) standard normals."""
    move = torch.cat([half, -half]).mul_(math.sqrt(2 * h))
    move.sub_(particle_pass(X, theta, s * w / len(w), buffer), alpha=h).add_(X)
    X = move.div_(move.norm(dim=1, keepdim=True))
    G = neuron_pass(X, theta, buffer).sub_(neuron_pass(data, theta, buffer))
    F = (G * theta).sum(1)
    G = G - theta * F[:, None]
    moved = theta + h * a * s[:, None] * G
    w = w * torch.exp(h * a * s * F)
    return X, moved / moved.norm(dim=1, keepdim=True), w * (RADIUS / w.mean().clamp(min=RADIUS))
