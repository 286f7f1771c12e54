"""How the time and the memory of a step of Algorithm 1 grow with N = 2n walkers; m = 64, d = 15, float32.

MEASUREFLOW_LARGEST=1e7 pytest benchmarks/test_scaling.py --benchmark-enable -s
"""

import os
import statistics
import time

import dual
import memory
from pytest_benchmark.fixture import BenchmarkFixture
from report import here, table
from side_by_side import CPU

from measureflow.api import Registry
from measureflow_plugins.commands.timing import exponent

LARGEST = int(float(os.environ.get("MEASUREFLOW_LARGEST", "1e6")))
SIZES = [size for size in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000) if size <= LARGEST]


def test_growth_with_the_walkers(benchmark: BenchmarkFixture) -> None:
    """Each size in a process of its own: the median of its steps, and the memory that building and stepping add."""
    benchmark.extra_info.update(here(CPU), m=dual.M, d=dual.D)
    measured = benchmark.pedantic(lambda: [memory.alone("test_scaling", "timed_steps", size) for size in SIZES], rounds=1)
    seconds, states, added = [[row[0][i] for row in measured] for i in (0, 1)] + [[row[1] for row in measured]]
    slopes = {"time": exponent(SIZES, seconds), "memory": statistics.linear_regression(states, added).slope}
    benchmark.extra_info.update(N=SIZES, seconds=seconds, state_mib=states, added_mib=added, slopes=slopes)
    rows = [
        (f"{N:,}", f"{1e3 * taken:.1f}", f"{state:.1f}", f"{more:.0f}")
        for N, taken, state, more in zip(SIZES, seconds, states, added, strict=True)
    ]
    print(f"\n{table(('N', 'ms', 'state MiB', 'added MiB'), rows)}")
    print(f"time ~ N^{slopes['time']:.3f}; {slopes['memory']:.2f} MiB of peak for each MiB of state")


def timed_steps(registry: Registry, N: int) -> tuple[float, float]:
    """(median seconds of a step, MiB of the state's points)."""
    built = dual.built(registry, N // 2)
    state = sum(mu.points.numel() * 4 for mu in built.system.measures.values()) / 2**20
    moving, taken = dual.steps(built.simulation, built.system), []
    del built
    for _ in range(7):
        began = time.perf_counter()
        next(moving)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:]), state
