"""Reducers against whole matrices in torch and in JAX, and what KeOps' first use costs.

pytest benchmarks/test_reducers.py --benchmark-enable -s
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from reductions import Case, compare, reduced
from report import here
from side_by_side import DEVICE

from measureflow.api import load_plugins

CASES = [
    Case(20_000, 64, 15),
    Case(200_000, 64, 15),
    Case(20_000, 1024, 15),
    Case(5000, 5000, 15, "gaussian"),
    Case(20_000, 256, 100),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_reducer(benchmark: BenchmarkFixture, case: Case) -> None:
    compare(benchmark, case, DEVICE)


@pytest.mark.parametrize("feature", ["relu", "gaussian"])
def test_compilation_by_keops(benchmark: BenchmarkFixture, feature: str, tmp_path: Path) -> None:
    """The first sum of a feature in a process of its own with an empty cache; with its import, which compiles too."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_reducers; test_reducers.first({feature!r})"
    fresh = {**os.environ, "KEOPS_CACHE_FOLDER": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], env=fresh, capture_output=True, text=True, check=True).stdout
    first, second = map(float, out.splitlines()[-1].split())
    benchmark.extra_info.update(here(DEVICE), first_s=first, second_s=second)
    benchmark.pedantic(lambda: None, rounds=1)  # the figures are the subprocess's own
    print(f"\nKeOps, {feature}: first sum {first:.1f} s, second {1e3 * second:.2f} ms")


def first(feature: str) -> None:
    """Seconds of the first and of the second sum in this process, on stdout."""
    case = Case(1000, 64, 15, feature)  # type: ignore[arg-type]
    reducer, arguments, taken = load_plugins().get("reducer", "keops")(), case.tensors(torch.float32, DEVICE), []
    for _ in range(2):
        began = time.perf_counter()
        reduced(reducer, case, *arguments)
        taken.append(time.perf_counter() - began)
    print("\n", *taken)
