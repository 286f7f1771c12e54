"""One sum over pairs, the gradient of sum_j a_j phi(x_i, y_j) at every x_i, in every way that is at hand."""

from functools import partial
from typing import Literal, final

import attrs
import peers
import torch
from peers import dense, sums
from pytest_benchmark.fixture import BenchmarkFixture
from report import here, table
from side_by_side import Work, medians
from torch import Tensor

from measureflow.api import Feature, Need, Particles, Reducer, Registry, load_plugins
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.reducers.keops import trouble


@final
@attrs.frozen
class Case:
    """N points, m atoms, dimension d, and the feature that pairs them; the Gaussian's length is sqrt(d)."""

    N: int
    m: int
    d: int
    feature: Literal["relu", "gaussian"] = "relu"

    @property
    def length(self) -> float:
        return self.d**0.5

    def __str__(self) -> str:
        return f"{self.N:.0e}, {self.m}, {self.d}, {self.feature}".replace("e+0", "e")

    def phi(self) -> Feature:
        return Relu() if self.feature == "relu" else Gaussian(length=self.length)

    def tensors(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """X (N, d), Y (m, d), signed masses a (m,) of total variation 1."""
        g = torch.Generator(device).manual_seed(0)
        X, Y = (torch.randn(size, self.d, generator=g, dtype=dtype, device=device) for size in (self.N, self.m))
        a = torch.full((self.m,), 1 / self.m, dtype=dtype, device=device)
        a[::2] *= -1
        return X, Y, a


def ways(case: Case, registry: Registry, device: torch.device, dtype: torch.dtype = torch.float32) -> dict[str, Work]:
    """By name: the built-in reducers, whole matrices in torch and in JAX, KeOps alone in its two schemes on a GPU."""
    arguments = case.tensors(dtype, device)
    radial = {} if case.feature == "relu" else {"length": case.length}
    gpu = device.type == "cuda"
    kinds = [kind for kind in ("chunked", *(() if gpu else ("compiled",)), "keops") if kind in registry.kinds("reducer")]
    found: dict[str, Work] = {kind: partial(reduced, registry.get("reducer", kind)(), case, *arguments) for kind in kinds}
    found["dense"] = partial(sums.gaussian if radial else dense.slope, *arguments, **radial)
    if not peers.absent("jax"):
        from peers import jax_sums

        if jax_sums.on(device.type):
            found["jax"] = (jax_sums.gaussian if radial else jax_sums.relu)(*arguments, **radial)
    if gpu and not trouble("cuda"):  # else it would end the process; the reducer's row says why
        alone = sums.lazy_gaussian if radial else sums.lazy_relu
        found |= {f"KeOps {scheme}": partial(alone, *arguments, **radial, backend=f"GPU_{scheme}") for scheme in ("1D", "2D")}
    return found


def reduced(reducer: Reducer, case: Case, X: Tensor, Y: Tensor, a: Tensor) -> Tensor:
    """By a reducer of the engine."""
    return reducer.field(case.phi(), X, Particles(Y, a.sign(), a.abs().log(), Euclidean()), Need.GRAD).grad


def compare(benchmark: BenchmarkFixture, case: Case, device: torch.device) -> None:
    """Times every way in turn, prints pairs a second, and keeps both beside the engine's own figure."""
    benchmark.extra_info.update(here(device), case=str(case))
    works = ways(case, load_plugins(), device)
    short = {name: why for name, work in works.items() if (why := _failing(work))}
    seconds = medians({name: work for name, work in works.items() if name not in short}, device, rounds=5, warmup=1)
    rates = {name: case.N * case.m / taken for name, taken in seconds.items()}
    benchmark.extra_info.update(pairs_per_second=rates, absent=short)
    benchmark.pedantic(works["chunked"], rounds=1)
    rows = [(name, f"{1e3 * taken:.1f}", f"{rates[name]:.2e}") for name, taken in seconds.items()]
    print(f"\nN, m, d = {case}\n{table(('', 'ms', 'pairs/s'), [*rows, *short.items()])}")


def _failing(work: Work) -> str | None:
    """Runs the work once; why it cannot be timed, if so. Each library raises errors of its own, and names memory in its own way."""
    try:
        work()
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        return "out of memory" if "memory" in str(error).lower() else f"{type(error).__name__}: {said[:150]}"
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what one library keeps, another lacks
    return None
