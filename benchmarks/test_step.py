"""A whole engine step against the same step written by others, and what the engine adds to a bare loop.

pytest benchmarks/test_step.py --benchmark-enable -s
"""

from typing import Any

import bare
import bound
import dual
import memory
import peers
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from report import against, here
from side_by_side import DEVICE, Work, medians, stepping

from measureflow.api import Built, Registry, load_plugins, run
from measureflow_tools.analysis.timing import pairs, through

SIZES = [pytest.param(10_000, id="1e4"), pytest.param(100_000, id="1e5"), pytest.param(200, id="smoke")]
ENGINE = "engine"


@pytest.mark.parametrize("n", SIZES)
def test_step(benchmark: BenchmarkFixture, n: int) -> None:
    """n data points, N = 2n walkers: engine, its reducers by name, the bare loop, the peers."""
    registry = load_plugins()
    built = dual.built(registry, n)
    ours, others, absent = engines(built, registry), *peers_of(built)
    benchmark.extra_info.update(here(DEVICE), n=n, N=2 * n, m=dual.M, d=dual.D)
    seconds, rates = medians({**ours, **others}), bound.machine(DEVICE)
    benchmark.extra_info.update(figures(seconds, pairs(built.dynamics, built.system)), absent=absent)
    least = bound.of_step(dual.problem(built.system), rates)
    benchmark.extra_info.update(bound_ms=1e3 * least, ratio_to_bound=seconds[ENGINE] / least, gflops=rates.flops / 1e9)
    benchmark.pedantic(ours[ENGINE], rounds=5, warmup_rounds=1)
    print(f"\nn = {n}, N = {2 * n}, m = {dual.M}, d = {dual.D}\n{against({**seconds, 'bound': least}, ENGINE, absent)}")


def engines(built: Built, registry: Registry) -> dict[str, Work]:
    """The engine with reducer "auto", and with each reducer that runs this on this device."""
    kinds = [kind for kind in ("chunked", "compiled") if kind in registry.kinds("reducer")]
    named = {f"engine, {kind}": through(registry.get("reducer", kind)(), built.dynamics) for kind in kinds}
    variants = {ENGINE: built.dynamics, **named}
    return {name: stepping(dual.steps(dynamics, built.system)) for name, dynamics in variants.items()}


def peers_of(built: Built) -> tuple[dict[str, Work], dict[str, str]]:
    """The bare loop and the peers from the same start; and why some are not here."""
    start = dual.problem(built.system)
    absent = {name: why for name in peers.NAMES if (why := peers.absent(name))}
    works = {name: stepping(peers.steps(name, start)) for name in peers.NAMES if name not in absent}
    return {"bare": stepping(bare.steps(start)), **works}, absent


def figures(seconds: dict[str, float], count: int) -> dict[str, Any]:
    """The fastest peer is one that takes the same step."""
    fastest = min((name for name in peers.SAME if name in seconds), key=lambda name: seconds[name])
    return {
        "ms": {name: 1e3 * taken for name, taken in seconds.items()},
        "pairs": count,
        "pairs_per_second": count / seconds[ENGINE],
        "fastest_peer": fastest,
        "ratio_to_fastest_peer": seconds[ENGINE] / seconds[fastest],
        "ratio_to_bare": seconds[ENGINE] / seconds["bare"],
    }


def test_overhead(benchmark: BenchmarkFixture) -> None:
    """N = 256: what the engine adds to a step, in milliseconds, when the sums cost next to nothing."""
    built = dual.built(load_plugins(), 128)
    works = {ENGINE: stepping(dual.steps(built.dynamics, built.system))}
    works["bare"] = stepping(bare.steps(dual.problem(built.system)))
    benchmark.extra_info.update(here(DEVICE), N=256)
    seconds = medians(works, rounds=300, warmup=30)
    added = 1e3 * (seconds[ENGINE] - seconds["bare"])
    benchmark.extra_info.update(ms={name: 1e3 * taken for name, taken in seconds.items()}, added_ms=added)
    benchmark.pedantic(works[ENGINE], rounds=100, warmup_rounds=10)
    print(f"\nN = 256\n{against(seconds, ENGINE)}\nthe engine adds {added:.3f} ms")


def test_memory_of_a_run(benchmark: BenchmarkFixture) -> None:
    """Peak resident memory that building and 5 steps add, beside the state (nu, data, gamma), in a process of its own."""
    state, added = benchmark.pedantic(memory.alone, args=("test_step", "five_steps", 100_000), rounds=1)
    benchmark.extra_info.update(here(DEVICE), added_mib=added, state_mib=state, allowed_mib=2 * state + 100)
    print(f"\nadded {added:.0f} MiB, state {state:.0f} MiB, twice the state plus 100 MiB is {2 * state + 100:.0f} MiB")


def five_steps(registry: Registry, n: int) -> float:
    """MiB of the state's points."""
    built = dual.built(registry, n)
    for system in run(built.dynamics, built.system, 5):
        last = system
    return sum(mu.points.numel() * 4 for mu in last.measures.values()) / 2**20
