"""The compiled reducer against sums written out in float64, over every formula in the box; and what it leaves to Chunked."""

import math
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import attrs
import pytest
import torch
from test_contract import EXAMPLES
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import DotProduct, Feature, Radial
from measureflow.core.measure import Field, Need
from measureflow.errors import MeasureflowError
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Request, request
from measureflow.testing import normals
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.mlp import Mlp
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.von_mises_fisher import VonMisesFisher
from measureflow_plugins.reducers import compiler
from measureflow_plugins.reducers.compiled import MANY, Compiled
from measureflow_plugins.reducers.lanes import BLOCK

pytest.importorskip("numba", reason="numba is not installed: pip install measureflow[compiled]")
FORMULAS = [each for each in EXAMPLES if each.family == "feature" and each.own["kind"] not in ("mlp", "autograd-laplacian")]
TALL, WIDE = (Relu(power=2), 3000, 64), (Gaussian(), 64, 20_000)  # blocks of outputs, blocks of inputs; compiled once for all
CPU = torch.device("cpu")


def truth(phi: Feature, X: Tensor, Y: Tensor, a: Tensor) -> Field:
    """The sums with n x m x d arrays in float64, distances without cancellation."""
    X, Y, a = X.double(), Y.double(), a.double()
    between = X[:, None] - Y
    u = X @ Y.T if phi.form == "dot" else between.square().sum(2)
    toward = Y.expand_as(between) if phi.form == "dot" else 2 * between
    return Field(phi.profile(u.clone(), 0) @ a, torch.einsum("nm,m,nmd->nd", phi.profile(u.clone(), 1), a, toward))


def close(got: Field, wanted: Field, tolerance: float) -> None:
    """Both parts, where they were asked for, up to `tolerance` of the largest entry (1 if that is less)."""
    for part, true in ((got.maybe_value, wanted.maybe_value), (got.maybe_grad, wanted.maybe_grad)):
        if part is not None and true is not None and true.numel():
            torch.testing.assert_close(part.double(), true, rtol=0, atol=tolerance * max(1.0, float(true.abs().max())))


def points(n: int, m: int, d: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    return normals(n, d), normals(m, d, seed=1), normals(m, seed=2)


@pytest.mark.parametrize("number", range(len(FORMULAS)), ids=lambda number: str(FORMULAS[number]))
def test_every_formula_in_the_box_is_compiled_and_right(registry: Registry, number: int) -> None:
    """Every other one by blocks of inputs, for each takes a second or two to compile."""
    phi, space = FORMULAS[number].component(registry), FORMULAS[number].space(registry) or Space(Sphere(), 4)
    theta = phi.parameter_space(space)
    n, m = [(70, 9), (9, 70)][number % 2]
    X = phi.lifts[0].forward(space.domain.sample(normals(n, space.dim)))
    Y, a = phi.lifts[1].forward(theta.domain.sample(normals(m, theta.dim, seed=1))), normals(m, seed=2)
    assert Compiled().declines(phi, request("sums", phi, X, Y, Need.BOTH)) is None
    close(Compiled().sums(phi, X, Y, a, Need.BOTH), truth(phi, X, Y, a), 1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize(
    ("n", "m"), [(1, 1), (0, 3), (3, 0), (1, 700), (700, 1), (5, 3 * BLOCK), (2 * BLOCK, 6), (BLOCK + 1, 1025), (MANY, MANY + 5)]
)
def test_blocks_cover_every_pair_once(n: int, m: int, d: int) -> None:
    X, Y, a = points(n, m, d)
    wanted = Chunked().sums(Relu(), X, Y, a, Need.GRAD)
    close(Compiled().sums(Relu(), X, Y, a, Need.GRAD), wanted, 1e-11)
    close(Compiled().sums(Relu(), X, Y, None, Need.GRAD), Chunked().sums(Relu(), X, Y, None, Need.GRAD), 1e-11)


def test_only_what_is_needed_is_computed_and_inputs_are_kept() -> None:
    X, Y, a = points(40, 9)
    kept = [part.clone() for part in (X, Y, a)]
    both, value = (Compiled().sums(Relu(), X, Y, a, need) for need in (Need.BOTH, Need.VALUE))
    close(value, Field(both.value), 1e-13)
    assert value.maybe_grad is None
    assert Compiled().sums(Relu(), X, Y, a, Need.GRAD).maybe_value is None
    assert all(map(torch.equal, kept, (X, Y, a)))


@pytest.mark.parametrize(("n", "m"), [(40, 9), (9, 400)])
def test_views_that_are_not_contiguous(n: int, m: int) -> None:
    X, Y, a = points(2 * n, 2 * m, 3)
    X, Y, a = X.T.contiguous().T[::2], torch.cat([Y, Y], 1)[::2, 1:4], a[::2]
    close(Compiled().sums(Relu(), X, Y, a, Need.GRAD), truth(Relu(), X, Y, a), 1e-12)
    one = a[:1].expand(m)
    close(Compiled().sums(Relu(), X, Y, one, Need.GRAD), truth(Relu(), X, Y, one), 1e-12)


@pytest.mark.parametrize(("phi", "n", "m"), [TALL, WIDE])
def test_float32_is_off_by_its_rounding(phi: Feature, n: int, m: int) -> None:
    """Relative to sums of absolute terms: a few units of 6e-8 for each inner product, and as many for panels and lanes."""
    X, Y, a = (part.float() for part in points(n, m, 4))
    got, wanted, size = Compiled().sums(phi, X, Y, a, Need.BOTH), truth(phi, X, Y, a), truth(phi, X, Y, a.abs())
    assert got.value.dtype == got.grad.dtype == torch.float32
    assert float(((got.value - wanted.value).abs() / size.value).max()) < 1e-6
    assert float((got.grad - wanted.grad).abs().max() / size.value.max()) < 2e-6


def test_float32_kernels_with_a_kink_see_no_cancellation() -> None:
    """Two points 1e-4 apart at distance 10 from the rest: |x - y| keeps 3 digits, which products of coordinates lose."""
    phi = Kinked()
    X = torch.full((300, 3), 10.0)
    Y = X[:5] + 1e-4 * torch.eye(5, 3) + 1e-4
    close(Compiled().sums(phi, X, Y, None, Need.BOTH), truth(phi, X, Y, torch.ones(5)), 1e-6)


@attrs.frozen
class Kinked(Radial):
    """-|x - y| where x and y differ."""

    kind: ClassVar[str] = "kinked"
    orders: ClassVar[int] = 1

    def profile(self, u: Any, order: int) -> Any:
        return -0.5 * u.rsqrt() if order else -1.0 * u.sqrt()


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float32, -87.3, 88.3), (torch.float64, -708.3, 709.3)])
def test_the_exponential_keeps_its_digits_and_its_limits(dtype: torch.dtype, low: float, high: float) -> None:
    """Within two rounding units where exp(x) is a normal number, 0 below, not finite above, NaN for NaN."""
    x = torch.linspace(low, high, 20_011, dtype=torch.float64).to(dtype)[:, None]
    one = x.new_ones(1, 1)
    got = Compiled().sums(VonMisesFisher(), x, one, None, Need.VALUE).value.double()
    assert float((got / x[:, 0].double().exp() - 1).abs().max()) < 2 * torch.finfo(dtype).eps
    ends = x.new_tensor([[-math.inf], [low - 1], [0.0], [high + 1], [math.inf], [math.nan]])
    limits = Compiled().sums(VonMisesFisher(), ends, one, None, Need.VALUE).value
    assert limits[:3].tolist() == [0, 0, 1]
    assert not limits[3:].isfinite().any()
    assert limits[5].isnan()


class Plain(DotProduct):
    """What the features below share."""

    orders: ClassVar[int] = 1

    def parameter_space(self, x: Space) -> Space:
        return x


@attrs.frozen
class Everything(Plain):
    """Every operation that a profile may use, for arguments in (0, 1)."""

    kind: ClassVar[str] = "everything"

    def profile(self, u: Any, order: int) -> Any:
        v = u * 2.0 - 1.0
        parts = [abs(v), v.abs(), v.relu(), v.sign(), v.clamp(-0.5, 0.25), v.exp(), v.square(), -v, v**3, 1.0 + v, 2 - v, 1.0 / u]
        parts += [u.sqrt(), u.rsqrt(), u.log(), v.sin(), v.cos(), v.asin(), v.acos(), v.atan(), v.atan2(u), u**0.3, v / u, u**-1]
        total = u * 0.0
        for k, part in enumerate(parts):
            total = total + part * (1.0 + k / 7)
        return total


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_every_operation_is_what_it_is_in_torch(dtype: torch.dtype, tolerance: float) -> None:
    u = torch.linspace(0.01, 0.99, 1001, dtype=dtype)[:, None]
    got = Compiled().sums(Everything(), u, u.new_ones(1, 1), None, Need.VALUE).value
    torch.testing.assert_close(got.double(), Everything().profile(u[:, 0].double(), 0), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("phi", "n", "m", "bad"), [(*TALL, math.nan), (*TALL, math.inf), (*WIDE, math.nan)])
def test_what_is_not_finite_shows_where_it_shows_in_chunked(phi: Feature, n: int, m: int, bad: float) -> None:
    """But a Gaussian at an infinite distance is 0, where matrix products say NaN."""
    X, Y, a = (part.float() for part in points(n, m))
    X[2, 1] = bad
    got, wanted = Compiled().sums(phi, X, Y, a, Need.BOTH), Chunked().sums(phi, X, Y, a, Need.BOTH)
    assert not wanted.grad[2].isfinite().all()
    assert torch.equal(got.value.isfinite(), wanted.value.isfinite())
    assert torch.equal(got.grad.isfinite().all(1), wanted.grad.isfinite().all(1))


@pytest.mark.parametrize(("phi", "n", "m"), [TALL, WIDE])
def test_threads_change_nothing(phi: Feature, n: int, m: int) -> None:
    X, Y, a = (part.float() for part in points(n, m))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 7):
            torch.set_num_threads(count)
            results.append(Compiled().sums(phi, X, Y, a, Need.BOTH))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(got.value, results[0].value) for got in results)
    assert all(torch.equal(got.grad, results[0].grad) for got in results)


def test_calls_from_several_threads_at_once_do_not_meet() -> None:
    phi, n, m = TALL
    X, Y, a = (part.float() for part in points(n, m))
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(lambda _: Compiled().sums(phi, X, Y, a, Need.BOTH).value, range(40)))
    assert all(torch.equal(value, values[0]) for value in values)


@attrs.frozen
class Foreign(Plain):
    """tanh, by a function of torch's that only tensors know."""

    kind: ClassVar[str] = "foreign"

    def profile(self, u: Any, order: int) -> Any:
        return 1 - torch.tanh(u).square() if order else torch.tanh(u)


@attrs.frozen
class Branching(Plain):
    kind: ClassVar[str] = "branching"

    def profile(self, u: Any, order: int) -> Any:
        return u.where(u > 0, 0 * u)


@attrs.frozen
class Comparing(Plain):
    kind: ClassVar[str] = "comparing"

    def profile(self, u: Any, order: int) -> Any:
        return (u != 0) * 1.0


@attrs.define
class Thawed(Plain):
    kind: ClassVar[str] = "thawed"

    def profile(self, u: Any, order: int) -> Any:
        return u


@pytest.mark.parametrize(
    ("phi", "change", "why"),
    [
        (Mlp(), {"form": "autograd"}, "mlp is a torch function"),
        (Relu(), {"device": torch.device("meta")}, "the points are on meta"),
        (Relu(), {"op": "directed"}, "directed sums have no compiled loop"),
        (Relu(), {"dtype": torch.bfloat16}, r"the points are in torch\.bfloat16.*torch\.float32, torch\.float64"),
        (Foreign(), {}, "the profile of foreign cannot be compiled"),
        (Foreign().T, {}, "the profile of foreign cannot be compiled"),
        (Branching(), {}, "branching cannot be compiled.*where is not known; known: abs, .*atan2, clamp"),
        (Comparing(), {}, "comparing cannot be compiled.*a comparison is not known"),
        (Thawed(), {}, "thawed cannot be compiled.*unhashable"),
    ],
)
def test_what_is_declined_says_why(phi: Feature, change: dict[str, Any], why: str) -> None:
    asked = attrs.evolve(Request("sums", 4, 3, 2, "relu", "dot", torch.float32, CPU, Need.BOTH), **change)
    assert re.search(why, Compiled().declines(phi, asked) or "nothing was declined")


def test_a_torch_without_openmp_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measureflow_plugins.reducers.compiled.openmp", lambda: None)
    why = Compiled().declines(Relu(), Request("sums", 4, 3, 2, "relu", "dot", torch.float32, CPU, Need.BOTH))
    assert why == "this build of torch has no OpenMP, whose threads the loops run on"


def test_what_is_declined_is_chunkeds() -> None:
    X, Y, a = points(12, 5)
    V = normals(5, 3, seed=4)
    close(Compiled().sums(Foreign(), X, Y, a, Need.BOTH), Chunked().sums(Foreign(), X, Y, a, Need.BOTH), 0)
    low = [part.bfloat16() for part in (X, Y, a)]
    close(Compiled().sums(Relu(), *low, Need.VALUE), Field(Chunked().sums(Relu(), *low, Need.VALUE).value.double()), 0)
    close(Compiled().directed_sums(Gaussian(), X, Y, V, Need.BOTH), Chunked().directed_sums(Gaussian(), X, Y, V, Need.BOTH), 0)
    assert torch.equal(Compiled().vector_sums(Gaussian(), X, Y, V), Chunked().vector_sums(Gaussian(), X, Y, V))


def test_without_numba_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    compiler.numba.cache_clear()
    with pytest.raises(MeasureflowError, match=r'pip install "measureflow\[compiled\]", or take reducer = "chunked"'):
        Compiled().sums(Relu(power=9), *points(4, 3), Need.VALUE)


def test_importing_the_box_does_not_import_numba() -> None:
    code = "import sys, measureflow.cli, measureflow.plugins.registry as p; p.load(); sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
