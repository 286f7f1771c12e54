"""A step of the MMD flow with N walkers and N data points, where whole kernel matrices are N x N.

pytest benchmarks/test_mmd.py --benchmark-enable -s
"""

from typing import Any

import dual
import memory
import pytest
from peers import mmd
from pytest_benchmark.fixture import BenchmarkFixture
from report import against, here
from side_by_side import DEVICE, medians, stepping

from measureflow.api import Built, Registry, build, from_tables, load_plugins
from measureflow_tools.analysis.timing import pairs

N, D, STEP, LENGTH = 20_000, 15, 0.4, 4.0
TIME, MEMORY = 0.25, 200  # targets: the engine's time over the dense one's, and the MiB it may add


def built(registry: Registry, size: int, **other: Any) -> Built:
    """Two Gaussians as data, walkers from the normal law."""
    tables = {
        "name": "mmd",
        "device": str(DEVICE),
        "steps": 1,
        "step": STEP,
        "data": {"kind": "mixture", "means": [[1.0] * D, [-1.0] * D], "train": size},
        "measures": {"nu": {"init": {"kind": "uniform", "size": size}, "flows": [{"kind": "wasserstein"}]}},
        "coupling": {"kind": "mmd", "feature": {"kind": "gaussian", "length": LENGTH}},
        **other,
    }
    return build(from_tables(tables, registry), registry)


def engine(registry: Registry, size: int, steps: int) -> None:
    """That many steps of the engine."""
    start = built(registry, size)
    moving = dual.steps(start.dynamics, start.system)
    for _ in range(steps):
        next(moving)


def dense(registry: Registry, size: int, steps: int) -> None:
    """That many steps in plain torch."""
    system = built(registry, size).system
    moving = mmd.steps(system["nu"].points, system["data"].points, STEP, LENGTH)
    for _ in range(steps):
        next(moving)


def test_time(benchmark: BenchmarkFixture) -> None:
    start = built(load_plugins(), N)
    works = {"engine": stepping(dual.steps(start.dynamics, start.system))}
    works["dense"] = stepping(mmd.steps(start.system["nu"].points, start.system["data"].points, STEP, LENGTH))
    benchmark.extra_info.update(here(DEVICE), N=N, d=D, target=TIME)
    seconds = medians(works, rounds=5, warmup=1)
    rate = pairs(start.dynamics, start.system) / seconds["engine"]
    ratio = seconds["engine"] / seconds["dense"]
    benchmark.extra_info.update(ms={name: 1e3 * taken for name, taken in seconds.items()}, ratio=ratio, pairs_per_second=rate)
    benchmark.pedantic(works["engine"], rounds=1)
    print(f"\nN = {N}, d = {D}\n{against(seconds, 'engine')}\nengine over dense {ratio:.2f}, target {TIME}; {rate:.2e} pairs/s")


@pytest.mark.parametrize("how", ["engine", "dense"])
def test_memory(benchmark: BenchmarkFixture, how: str) -> None:
    """Peak memory that building and two steps add, in a process of its own."""
    _, added = benchmark.pedantic(memory.alone, args=("test_mmd", how, N, 2), rounds=1)
    benchmark.extra_info.update(added_mib=added, target_mib=MEMORY)
    print(f"\nN = {N}: {how} adds {added:.0f} MiB; the engine's target is {MEMORY} MiB")
