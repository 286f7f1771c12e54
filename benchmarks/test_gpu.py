"""The same sums on a GPU, up to ten million points; what does not fit is named.

pytest benchmarks/test_gpu.py --benchmark-enable -s
"""

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from reductions import Case, compare

CASES = [
    Case(200_000, 64, 15),
    Case(1_000_000, 1024, 15),
    Case(10_000_000, 1024, 15),
    Case(100_000, 100_000, 15, "gaussian"),
    Case(100_000, 4096, 256),
]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gpu(benchmark: BenchmarkFixture, case: Case) -> None:
    """KeOps picks its scheme by the number of outputs under the engine; alone it is asked for each."""
    compare(benchmark, case, torch.device("cuda"))
