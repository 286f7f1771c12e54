"""How the time and the memory of a step of Algorithm 1 grow with N = 2n walkers; m = 64, d = 15, float32.

MEASUREFLOW_LARGEST=1e7 pytest benchmarks/test_scaling.py --benchmark-enable -s
"""

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import dual
import memory
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from report import here, table
from side_by_side import DEVICE

from measureflow.api import Built, Registry, advance, build, from_tables
from measureflow.run.checkpoint.checkpoint import save_checkpoint
from measureflow.run.runner import Asked, stage_of
from measureflow_tools.analysis.timing import exponent

LARGEST = int(float(os.environ.get("MEASUREFLOW_LARGEST", "1e6")))
SIZES = [size for size in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000) if size <= LARGEST]


@pytest.mark.parametrize("in_place", [False, True], ids=["copied", "in-place"])
def test_growth_with_the_walkers(benchmark: BenchmarkFixture, in_place: bool) -> None:
    """Each size in a process of its own: the median of its steps, and the memory that building and stepping add."""
    benchmark.extra_info.update(here(DEVICE), m=dual.M, d=dual.D, in_place=in_place)

    def measure() -> list[Any]:
        return [memory.alone("test_scaling", "timed_steps", size, in_place) for size in SIZES]

    measured = benchmark.pedantic(measure, rounds=1)
    seconds, states, added = [[row[0][i] for row in measured] for i in (0, 1)] + [[row[1] for row in measured]]
    slopes = {"time": exponent(SIZES, seconds), "memory": statistics.linear_regression(states, added).slope}
    benchmark.extra_info.update(N=SIZES, seconds=seconds, state_mib=states, added_mib=added, slopes=slopes)
    rows = [
        (f"{N:,}", f"{1e3 * taken:.1f}", f"{state:.1f}", f"{more:.0f}")
        for N, taken, state, more in zip(SIZES, seconds, states, added, strict=True)
    ]
    print(f"\n{table(('N', 'ms', 'state MiB', 'added MiB'), rows)}")
    print(f"time ~ N^{slopes['time']:.3f}; {slopes['memory']:.2f} MiB of peak for each MiB of state")


@pytest.mark.skipif(LARGEST < 10_000_000, reason="minutes: MEASUREFLOW_LARGEST=1e7 runs it")
def test_ten_million_walkers_and_a_thousand_neurons(benchmark: BenchmarkFixture) -> None:
    """One step and a checkpoint of N = 1e7, m = 1024, d = 15, in place."""
    benchmark.extra_info.update(here(DEVICE), N=10_000_000, m=1024, d=dual.D)
    (seconds, state), added = benchmark.pedantic(lambda: memory.alone("test_scaling", "one_large_step", 10_000_000, 1024), rounds=1)
    benchmark.extra_info.update(seconds=seconds, state_mib=state, added_mib=added, ratio=added / state)
    print(f"\none step {seconds:.1f} s, state {state:.0f} MiB, added {added:.0f} MiB: {added / state:.2f} of it")


def one_large_step(registry: Registry, N: int, m: int) -> tuple[float, float]:
    """(seconds of a step, MiB of the state's points); a checkpoint is written after it."""
    experiment = from_tables(dual.tables(N // 2, m, in_place=True), registry)
    built = build(experiment, registry)
    system, dynamics, state = built.system, built.dynamics, _mebibytes(built)
    del built
    began = time.perf_counter()
    system = advance(dynamics, system)
    seconds = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(system, stage_of(experiment, Asked(Path(folder), True)))
    return seconds, state


def _mebibytes(built: Built) -> float:
    return sum(mu.points.numel() * 4 for mu in built.system.measures.values()) / 2**20


def timed_steps(registry: Registry, N: int, in_place: bool) -> tuple[float, float]:
    """(median seconds of a step, MiB of the state's points)."""
    built = dual.built(registry, N // 2, in_place=in_place)
    state = _mebibytes(built)
    moving, taken = dual.steps(built.dynamics, built.system), []
    del built
    for _ in range(7):
        began = time.perf_counter()
        next(moving)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[2:]), state
