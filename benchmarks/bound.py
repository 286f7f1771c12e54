"""The least time of a step on this machine: its products at the rate of products, or its memory traffic at that of copies.

    python benchmarks/bound.py

Both rates are measured in the process that asks. What is left out (comparisons, normals, norms) only makes the true bound higher.
"""

import statistics
from collections.abc import Callable
from typing import final

import attrs
import torch
from peers.problem import Problem

from measureflow_plugins.reducers.autotune.clock import timed

SIDE = 1024  # of the square matrices multiplied
COPIED = 2**28  # bytes: more than caches hold


@final
@attrs.frozen
class Machine:
    """Rates a second: `flops` of a float32 product of 1024 x 1024 matrices, `bytes` read and written by a large copy."""

    flops: float
    bytes: float

    def seconds(self, flops: float, traffic: float) -> float:
        """The larger of what the operations and the bytes take."""
        return max(flops / self.flops, traffic / self.bytes)


def machine(device: torch.device) -> Machine:
    """The rates of this device now, with the threads that torch has now."""
    A, B = torch.randn(2, SIDE, SIDE, device=device)
    C, source = torch.empty_like(A), torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    product = _seconds(lambda: torch.mm(A, B, out=C), device)
    return Machine(2 * SIDE**3 / product, 2 * COPIED / _seconds(lambda: target.copy_(source), device))


def _seconds(work: Callable[[], object], device: torch.device, rounds: int = 11, warmup: int = 2) -> float:
    return statistics.median([timed(work, device) for _ in range(warmup + rounds)][warmup:])


def of_step(problem: Problem, rates: Machine) -> float:
    """Seconds of a step of Algorithm 1: two products for each sum over pairs; walkers and data read once, walkers written once."""
    (N, d), n, m = problem.X.shape, len(problem.data), len(problem.w)
    return rates.seconds(4 * m * d * (2 * N + n), problem.X.element_size() * d * (2 * N + n))


if __name__ == "__main__":
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = machine(device)
    print(f"{device}, {torch.get_num_threads()} threads: {rates.flops / 1e9:.0f} GFLOP/s, {rates.bytes / 1e9:.1f} GB/s")
