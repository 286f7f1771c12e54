"""KeOps alone: lazy sums over pairs, the rest in torch. On the GPU where the tensors are there, and on the CPU otherwise."""

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from peers import loop
from peers.problem import Problem

os.environ.setdefault("PYKEOPS_VERBOSE", "0")
with contextlib.redirect_stdout(io.StringIO()):  # it says on stdout that there is no CUDA
    from pykeops.torch import Vi, Vj


def steps(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step; the first compiles or reads KeOps' cache, which has no lock: it holds the engine's."""
    steps = loop.steps(problem, slope, force)
    with FileLock(Path(tempfile.gettempdir()) / f"measureflow-keops-{os.getuid()}.lock"):
        first = next(steps)
    yield first
    yield from steps


def slope(X: Tensor, theta: Tensor, masses: Tensor) -> Tensor:
    """sum_j masses_j 1[<x_i, theta_j> >= 0] theta_j, (N, d)."""
    return _summed(X, theta, theta * masses[:, None])


def force(X: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and its gradient, (m,) and (m, d), as in `dense`."""
    G = _summed(theta, X, X) / len(X)
    return (G * theta).sum(1), G


def _summed(at: Tensor, others: Tensor, vectors: Tensor) -> Tensor:
    """sum_j 1[<at_i, others_j> >= 0] vectors_j."""
    active = (Vi(at.contiguous()) | Vj(others.contiguous())).step()
    sums: Tensor = (active * Vj(vectors.contiguous())).sum(1, backend="CPU" if at.device.type == "cpu" else "GPU")
    return sums
