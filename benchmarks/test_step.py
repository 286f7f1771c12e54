"""A whole engine step against a bare torch loop with the same row blocks, and the memory a run adds.

pytest benchmarks/test_step.py --benchmark-enable -s
"""

import subprocess
import sys
from typing import Any

import bare
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from side_by_side import medians

from measureflow.experiment import build, from_tables
from measureflow.plugins import load
from measureflow.simulate import advance

M, D = 64, 15
SIZES = [10_000, 100_000]


def tables(n: int, steps: int = 1) -> dict[str, Any]:
    """Algorithm 1 on n data points and 2n walkers, dual settings."""
    return {
        "name": "step",
        "steps": steps,
        "step": 0.001,
        "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": n},
        "measures": {
            "nu": {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "noise": "antithetic"}]},
            "gamma": {
                "init": {"kind": "uniform", "size": M, "signs": "balanced"},
                "flows": [{"kind": "wfr", "rate": 20.0}, {"kind": "tv-ball", "radius": bare.RADIUS}],
            },
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
    }


@pytest.mark.parametrize("n", SIZES)
def test_step_against_bare_loop(benchmark: BenchmarkFixture, n: int) -> None:
    registry = load()
    built = build(from_tables(tables(n), registry), registry)
    system, gamma = built.system, built.system["gamma"]
    buffer = torch.empty(2**19 // M, M)
    arguments = (system["nu"].points, gamma.points, gamma.sign, M * gamma.log_mass.exp(), system["data"].points)

    def engine() -> object:
        return advance(built.simulation, system)

    def loop() -> object:
        return bare.step(*arguments, 0.001, 20.0, buffer)

    ours, bares = medians(engine, loop)
    benchmark.extra_info.update(n=n, N=2 * n, m=M, d=D, threads=torch.get_num_threads(), ratio=ours / bares, bare_ms=1e3 * bares)
    benchmark.pedantic(engine, rounds=5, warmup_rounds=1)
    print(f"\nn = {n}: engine {1e3 * ours:.1f} ms, bare loop {1e3 * bares:.1f} ms, ratio {ours / bares:.3f}")


def test_memory_of_a_run(benchmark: BenchmarkFixture) -> None:
    """Peak resident memory that 5 steps add after import, beside the state (nu, data, gamma), in a process of its own."""
    code = """
import pathlib, sys
sys.path.insert(0, {here!r})
from test_step import tables
from measureflow.experiment import build, from_tables
from measureflow.plugins import load
from measureflow.simulate import run
import torch
registry = load()
torch.mm(torch.ones(64, 64), torch.ones(64, 64)).sum()
def memory(name):
    return next(int(line.split()[1]) for line in pathlib.Path("/proc/self/status").open() if line.startswith(name)) / 1024
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew: what import needed does not count
before = memory("VmRSS")
built = build(from_tables(tables(100_000), registry), registry)
for system in run(built.simulation, built.system, 5): pass
state = sum(mu.points.numel() * 4 for mu in system.measures.values())
print(memory("VmHWM") - before, state / 2**20)
"""
    here = __file__.rpartition("/")[0]
    out = benchmark.pedantic(
        lambda: subprocess.run([sys.executable, "-c", code.format(here=here)], capture_output=True, text=True, check=True).stdout,
        rounds=1,
    )
    added, state = map(float, out.split())
    benchmark.extra_info.update(added_mib=added, state_mib=state, allowed_mib=2 * state + 100)
    print(f"\nadded {added:.0f} MiB, state {state:.0f} MiB, twice the state plus 100 MiB is {2 * state + 100:.0f} MiB")
