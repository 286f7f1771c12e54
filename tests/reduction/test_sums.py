"""Sums over atoms in small: against the whole matrix and torch's own derivatives, and how they are cut into tiles."""

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import AppendOne, Feature, Identity, Lift, Normalise, exponential, heaviside, positive, scaled
from measureflow.core.measure import Need, Particles
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.matmul import Factor, cut, product, products, spans
from measureflow.testing import measure, normals
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.relu_affine import ReluAffine
from measureflow_plugins.features.von_mises_fisher import VonMisesFisher


def features() -> list[tuple[Feature, Space]]:
    plane, ball = Space(Euclidean(), 3), Space(Sphere(), 4)
    return [(ReluAffine(power=3), plane), (Relu(power=2), ball), (Gaussian(length=0.8), plane), (VonMisesFisher(), ball)]


def double_sums(phi: Feature, x: Tensor, mu: Particles, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Field and its gradient, derivative along v and its gradient, vector sum: from the whole matrix, by torch."""
    x, y = x.detach().requires_grad_(), mu.points.detach().requires_grad_()
    value = phi.pair(x, y) @ mu.mass
    (grad,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
    one = torch.ones(len(x), dtype=x.dtype, requires_grad=True)
    (pulled,) = torch.autograd.grad(one @ value, y, create_graph=True)
    (along,) = torch.autograd.grad((pulled * v).sum(), one, create_graph=True)  # the transpose of a transpose
    (slope,) = torch.autograd.grad(along.sum(), x)
    return value.detach(), grad, along.detach(), slope, phi.pair(x, y).detach() @ (v * mu.mass[:, None])


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("n", "m", "tile"), [(7, 5, 2**20), (5, 7, 6), (9, 9, 1), (1, 8, 3), (340, 200, 2**20), (200, 340, 2**12)])
@pytest.mark.parametrize(("phi", "space"), features(), ids=str)
def test_sums_are_those_of_the_whole_matrix(phi: Feature, space: Space, n: int, m: int, tile: int, swapped: bool) -> None:
    """Small ones, ones of many tiles, and ones so large that factors are padded, from either side."""
    sides = (space, phi.parameter_space(space))
    on_x, on_y = sides[::-1] if swapped else sides
    phi, at, mu = (phi.T if swapped else phi), measure(on_x, n, seed=1).points, measure(on_y, m, seed=2, signed=True)
    v, reducer = normals(m, on_y.dim, seed=3), Chunked(tile=tile)
    value, grad, along, slope, vectors = double_sums(phi, at, mu, v)
    both, directed = reducer.field(phi, at, mu, Need.BOTH), reducer.directional(phi, at, mu, v, Need.BOTH)
    for got, wanted in (
        (both.value, value),
        (both.grad, grad),
        (reducer.field(phi, at, mu, Need.VALUE).value, value),
        (reducer.field(phi, at, mu, Need.GRAD).grad, grad),
        (directed.value, along),
        (directed.grad, slope),
        (reducer.directional(phi, at, mu, v, Need.VALUE).value, along),
        (reducer.directional(phi, at, mu, v, Need.GRAD).grad, slope),
        (reducer.vector_sum(phi, at, mu, v), vectors),
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10)
    flat = Particles.uniform(mu.points, mu.domain, 2.0)
    equal = reducer.field(phi, at, flat, Need.BOTH)
    torch.testing.assert_close(equal.value, phi.pair(at, flat.points).sum(1) * 2 / m, rtol=1e-9, atol=1e-10)
    terms = reducer.fields(phi, at, ((2.0, mu), (-1.0, flat), (0.5, mu)), Need.BOTH)
    torch.testing.assert_close(terms.grad, 2.5 * grad - equal.grad, rtol=1e-9, atol=1e-10)


def test_nothing_sums_to_zero() -> None:
    none = Particles.uniform(normals(0, 4), Sphere())
    for phi in (Relu(power=3), Gaussian(), Relu(power=3).T):
        field = Chunked().field(phi, normals(3, 4), none, Need.BOTH)
        assert (field.value.tolist(), float(field.grad.abs().max())) == ([0.0] * 3, 0.0)
        assert float(Chunked().directional(phi, normals(3, 4), none, normals(0, 4), Need.BOTH).grad.abs().max()) == 0.0
        assert Chunked().vector_sum(phi, normals(3, 4), none, normals(0, 2)).tolist() == [[0.0, 0.0]] * 3
        assert Chunked().field(phi, normals(0, 4), measure(Space(Sphere(), 4), 6), Need.BOTH).grad.shape == (0, 4)


@pytest.mark.parametrize(
    ("n", "m", "tile", "shape"),
    [
        (10, 4, 2**20, (10, 4)),
        (100, 4, 40, (10, 4)),
        (4, 100, 40, (4, 10)),
        (100, 100, 25, (5, 5)),
        (100, 100, 26, (5, 5)),
        (100, 100, 30, (6, 5)),
        (100, 90, 24, (6, 4)),
        (90, 100, 24, (4, 6)),
        (3, 3, 0, (1, 1)),
        (1, 9, 4, (1, 4)),
    ],
)
def test_a_tile_has_the_shape_it_should(n: int, m: int, tile: int, shape: tuple[int, int]) -> None:
    """As many numbers as allowed, the shorter axis whole where it fits the root; the first tile the largest."""
    tiles = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in spans(n, m, tile)]
    assert tiles[0] == shape
    assert all(height <= shape[0] and width <= shape[1] for height, width in tiles)
    assert sum(height * width for height, width in tiles) == n * m


def test_a_product_reuses_its_buffer_and_a_span_of_everything_is_no_view() -> None:
    X, Y = normals(9, 3), normals(4, 3, seed=1)
    where = set()
    for rows, columns, P in products(X, Y, 8):
        torch.testing.assert_close(P, X[rows] @ Y[columns].T)
        where.add(P.untyped_storage().data_ptr())
    assert len(where) == 1
    assert cut(X, slice(0, 9)) is X
    assert cut(X, slice(2, 5)).shape == (3, 3)
    assert product(Y, X).stride() == (1, 4)  # tall, seen from its side
    assert product(X, Y).stride() == (4, 1)
    torch.testing.assert_close(product(Y, X), Y @ X.T)


@pytest.mark.parametrize(
    ("n", "m", "mass", "width"), [(300, 250, False, 16), (300, 250, True, 16), (9, 5, False, 3), (9, 5, True, 4)]
)
def test_a_tall_factor_is_padded_once_where_that_pays(n: int, m: int, mass: bool, width: int) -> None:
    """Rows a_j y_j, then a_j, then zeros up to a multiple of 16 where the matrix is large; a wide one is cut tile by tile."""
    Y, a = normals(m, 3), normals(m, 1, seed=1)[:, 0]
    for masses in (a, None):
        weighted = Y if masses is None else Y * masses[:, None]
        last = torch.ones(m, dtype=Y.dtype) if masses is None else masses
        tall, wide = Factor.of(Y, masses, n, mass), Factor.of(Y, masses, m - 1, mass)
        assert Factor.of(Y, masses, m, mass).padded is not None
        assert wide.padded is None
        assert tall.cut(slice(0, m)).shape == (m, width)
        assert wide.cut(slice(1, 4)).shape == (3, 3 + mass)
        for factor, rows in ((tall.cut(slice(2, 5)), slice(2, 5)), (wide.cut(slice(0, 4)), slice(0, 4))):
            assert torch.equal(factor[:, :3], weighted[rows])
            assert not mass or torch.equal(factor[:, 3], last[rows])
            assert not factor[:, 3 + mass :].any()


class Symbol:
    """Stands for a symbolic argument: it notes what is asked of it, and has none of a tensor's methods that overwrite."""

    def __init__(self, said: str = "u") -> None:
        self.said = said

    def __mul__(self, factor: float) -> "Symbol":
        return Symbol(f"{self.said} * {factor}")

    def relu(self) -> "Symbol":
        return Symbol(f"relu({self.said})")

    def sign(self) -> "Symbol":
        return Symbol(f"sign({self.said})")

    def exp(self) -> "Symbol":
        return Symbol(f"exp({self.said})")


HELPERS = [
    (heaviside, [0.0, 0.0, 1.0], "sign(relu(u))"),
    (positive, [0.0, 0.0, 2.0], "relu(u)"),
    (exponential, [math.exp(-87), 1.0, math.exp(2.0)], "exp(u)"),
    (functools.partial(scaled, factor=3.0), [-300.0, 0.0, 6.0], "u * 3.0"),
]


@pytest.mark.parametrize(("helper", "wanted", "symbolic"), HELPERS)
def test_a_profiles_helper_overwrites_what_needs_no_gradient_and_nothing_else(
    helper: Callable[[Any], Any], wanted: list[float], symbolic: str
) -> None:
    u = torch.tensor([-100.0, 0.0, 2.0], dtype=torch.float64)
    leaf = u.clone().requires_grad_()
    torch.testing.assert_close(helper(leaf)[1:].detach(), torch.tensor(wanted[1:], dtype=u.dtype))
    assert (helper(leaf).dtype, leaf.tolist()) == (torch.float64, [-100.0, 0.0, 2.0])
    assert helper(u) is u
    torch.testing.assert_close(u, torch.tensor(wanted, dtype=u.dtype), rtol=1e-12, atol=0)
    assert helper(Symbol()).said == symbolic


@pytest.mark.parametrize("lift", [Identity(), AppendOne(), Normalise()], ids=str)
def test_a_lift_pushes_and_pulls_by_its_derivative(lift: Lift) -> None:
    points, vectors = normals(5, 3), normals(5, 3, seed=1)
    lifted, pushed = torch.autograd.functional.jvp(lift.forward, points, vectors)
    cotangents = normals(5, lifted.shape[1], seed=2)
    torch.testing.assert_close(lift.push(points, vectors), pushed, rtol=1e-12, atol=1e-14)
    wanted = torch.autograd.functional.vjp(lift.forward, points, cotangents)[1]
    torch.testing.assert_close(lift.pullback(points, cotangents), wanted, rtol=1e-12, atol=1e-14)


def test_a_swapped_feature_swaps_lifts_and_nothing_else() -> None:
    phi = ReluAffine(power=3)
    swapped = phi.T
    assert swapped.lifts == phi.lifts[::-1] == (Normalise(), AppendOne())
    assert (swapped.form, swapped.degree, swapped.profile_kind, swapped.T) == ("dot", 3, "relu-affine", phi)
    assert torch.equal(swapped.pair(normals(4, 4), normals(2, 3)), phi.pair(normals(2, 3), normals(4, 4)).T)
