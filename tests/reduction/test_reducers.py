"""Reducers against the whole matrix in float64, over sizes, dimensions, tiles and signs."""

import subprocess
import sys
from collections.abc import Callable
from typing import ClassVar, final

import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from measureflow.core.domain import Space
from measureflow.core.feature import Autograd, Feature
from measureflow.core.measure import Need, Particles
from measureflow.errors import MeasureflowError
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked, spans
from measureflow.reduction.reducer import Local
from measureflow.testing import check, dense, measure, normals
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.bilinear import Bilinear
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.relu_affine import ReluAffine
from measureflow_plugins.reducers.compiled import Compiled
from measureflow_plugins.reducers.keops import KeOps

FEATURES: list[tuple[Feature, Space]] = [
    (Relu(), Space(Sphere(), 4)),
    (Relu(power=2), Space(Sphere(), 3)),
    (ReluAffine(), Space(Euclidean(), 2)),
    (Gaussian(length=0.8), Space(Euclidean(base="gaussian"), 3)),
]


@given(
    case=st.sampled_from(FEATURES),
    swapped=st.booleans(),
    n=st.integers(1, 60),
    m=st.integers(1, 60),
    tile=st.one_of(st.integers(1, 400), st.just(2**19)),
)
@settings(max_examples=150, deadline=None)
def test_chunked_equals_dense(case: tuple[Feature, Space], swapped: bool, n: int, m: int, tile: int, registry: Registry) -> None:
    phi, space = case
    if swapped and phi.form == "dot" and phi.lifts[0] != phi.lifts[1]:
        _check_swapped(phi, space, n, m, tile)
    else:
        check(Chunked(tile=tile), space, registry=registry, feature=phi, sizes=(n, m)).raise_if_broken()


def _check_swapped(phi: Feature, space: Space, n: int, m: int, tile: int) -> None:
    theta, data = measure(phi.parameter_space(space), m).points.requires_grad_(), measure(space, n, seed=3, signed=True)
    value = dense(phi.T, theta, data)
    (grad,) = torch.autograd.grad(value.sum(), theta)
    field = Chunked(tile=tile).field(phi.T, theta.detach(), data, Need.BOTH)
    torch.testing.assert_close(field.value, value.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(field.grad, grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("phi", "space"), [FEATURES[0], FEATURES[3]], ids=str)  # each formula compiles for seconds
@pytest.mark.parametrize(("n", "m"), [(1, 1), (40, 9), (9, 40)])
def test_keops_equals_dense(registry: Registry, phi: Feature, space: Space, n: int, m: int) -> None:
    report = check(KeOps(), space, registry=registry, feature=phi, sizes=(n, m), keops=True).raise_if_broken()
    assert "values" in [row.promise for row in report.of("kept")]


def test_keops_gives_every_point_its_gradient_where_all_have_one(registry: Registry) -> None:
    """The gradient of <x, y> in x is the same for every x: KeOps sums it once."""
    report = check(Bilinear(), Space(Sphere(), 4), registry=registry, keops=True).raise_if_broken()
    assert "keops agrees" in [row.promise for row in report.of("kept")]


@pytest.mark.parametrize("reducer", [Chunked(), Compiled()], ids=lambda reducer: reducer.kind)
@pytest.mark.parametrize("leaf", ["at", "points", "log_mass", "vectors"])
def test_a_sum_that_torch_would_record_is_refused(reducer: Local, leaf: str) -> None:
    phi, space = FEATURES[3]
    mu = measure(space, 5, signed=True)
    given = {"at": measure(space, 4).points, "points": mu.points, "log_mass": mu.log_mass, "vectors": normals(5, 3)}
    given[leaf] = given[leaf].clone().requires_grad_()
    at, vectors = given["at"], given["vectors"]
    mu = mu.replace(points=given["points"], log_mass=given["log_mass"])
    sums: list[Callable[[], object]] = [
        lambda: reducer.directional(phi, at, mu, vectors, Need.BOTH),
        lambda: reducer.vector_sum(phi, at, mu, vectors),
    ]
    if leaf != "vectors":
        sums.append(lambda: reducer.field(phi, at, mu, Need.BOTH))
    for evaluate in sums:
        with pytest.raises(MeasureflowError, match=r"not differentiable .* `phi\.pair\(x, mu\.points\) @ mu\.mass`"):
            evaluate()
        with torch.no_grad():
            evaluate()


def test_float32_stays_near_float64() -> None:
    phi, space = FEATURES[0]
    at, source = space.domain.sample(normals(2000, 4)), measure(space, 64, signed=True)
    truth = Chunked().field(phi, at, source, Need.BOTH)
    low = Particles(*(part.float() for part in (source.points, source.sign, source.log_mass)), space.domain)
    field = Chunked().field(phi, at.float(), low, Need.BOTH)
    # 64 products and 4-term inner products, each rounded to 6e-8 of terms of size at most 1/64 * exp(.3 * 3)
    assert float((field.value - truth.value).abs().max()) < 1e-6
    assert float((field.grad - truth.grad).norm() / truth.grad.norm()) < 1e-3  # a step function at 0 flips a rare term


def test_only_what_is_needed_is_computed() -> None:
    phi, space = FEATURES[1]
    field = Chunked().field(phi, measure(space, 5).points, measure(space, 4), Need.VALUE)
    with pytest.raises(ValueError, match=r"without Need\.GRAD"):
        _ = field.grad


@pytest.mark.parametrize(("n", "m"), [(100_000, 64), (64, 100_000), (6000, 6000), (1, 1), (0, 3), (3, 0)])
def test_tiles_cover_everything_once_and_stay_small(n: int, m: int) -> None:
    tile = 2**19
    covered = 0
    for rows, columns in spans(n, m, tile):
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        assert 0 < size <= tile
        covered += size
    assert covered == n * m


def test_width_mismatch_names_both_dimensions() -> None:
    with pytest.raises(ValueError, match="dimensions \\(3 and 4\\)"):
        Chunked().field(Relu(), normals(5, 3), measure(Space(Sphere(), 4), 2), Need.VALUE)


def test_importing_the_engine_does_not_import_pykeops() -> None:
    code = "import sys, measureflow.cli, measureflow_plugins.reducers.keops; sys.exit('pykeops' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@final
@attrs.frozen
class Network(Autograd):
    """phi(x, theta) = tanh(<a, x> + b) c with theta = (a, b, c): parameters of another width than points."""

    kind: ClassVar[str] = "network"

    def pair(self, x: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ theta[:, : x.shape[1]].T + theta[:, -2]) * theta[:, -1]

    def parameter_space(self, x: Space) -> Space:
        return Space(Euclidean(), x.dim + 2)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (30, 9), (9, 30)])
@pytest.mark.parametrize("tile", [64, 2000, 2**19])
def test_torch_functions_equal_dense(registry: Registry, n: int, m: int, tile: int) -> None:
    place = Space(Euclidean(), 3)
    check(Chunked(tile=tile), place, registry=registry, feature=Network(), sizes=(n, m)).raise_if_broken()


def test_torch_functions_keep_the_feature_contract_and_keops_refuses_them(registry: Registry) -> None:
    space = Space(Euclidean(base="gaussian"), 3)
    check(Network(), space, registry=registry).raise_if_broken()
    with pytest.raises(MeasureflowError, match='reducer = "chunked"'):
        KeOps().field(Network(), normals(3, 3), measure(Space(Euclidean(), 5), 2), Need.VALUE)
