"""Kernels and the two discrepancies against Monte Carlo, plain numpy, and identities that know the answer."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Domain, Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.simulate import run
from measureflow.errors import MeasureflowError
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import dense, measure, normals
from measureflow_plugins.couplings.mmd import Mmd
from measureflow_plugins.couplings.mmd_ball import MmdBall
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.arc_cosine import ArcCosine
from measureflow_plugins.features.energy_distance import EnergyDistance
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.inverse_multiquadric import InverseMultiquadric
from measureflow_plugins.features.laplace import Laplace
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.relu_affine import ReluAffine
from measureflow_plugins.reducers.keops import KeOps

KERNELS: list[tuple[Feature, Domain, Any]] = [
    (ArcCosine(3), Sphere(), lambda t: (np.sqrt(1 - t * t) + (np.pi - np.arccos(t)) * t) / (6 * np.pi)),
    (Laplace(0.6), Euclidean(), lambda r: np.exp(-r / 0.6)),
    (InverseMultiquadric(0.6), Euclidean(), lambda r: 1 / np.sqrt(1 + r * r / 0.36)),
    (EnergyDistance(), Euclidean(), lambda r: -r),
]
IDS = [phi.kind for phi, _, _ in KERNELS]


def on(points: Tensor, domain: Domain) -> Particles:
    return Particles.uniform(points, domain)


def argument(phi: Feature, x: Tensor, y: Tensor) -> np.ndarray:
    if phi.form == "dot":
        return np.clip((x @ y.T).numpy(), -1, 1)
    return (x[:, None] - y).norm(dim=2).numpy()


@pytest.mark.parametrize(("phi", "domain", "formula"), KERNELS, ids=IDS)
def test_values_are_the_printed_formula(phi: Feature, domain: Domain, formula: Any) -> None:
    x, y = domain.sample(normals(30, 3)), domain.sample(normals(20, 3, seed=1))
    np.testing.assert_allclose(phi.pair(x, y).numpy(), formula(argument(phi, x, y)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [3, 7, 15])
def test_arc_cosine_is_the_mean_over_random_neurons_and_divides_by_d(d: int) -> None:
    n, pairs = 400_000, 8
    theta = Sphere().sample(normals(n, d, seed=d))
    x = Sphere().sample(normals(pairs, d, seed=1))
    y = Sphere().project(x + torch.linspace(0, 1.5, pairs, dtype=torch.float64)[:, None] * normals(pairs, d, seed=2) / math.sqrt(d))
    product = (theta @ x.T).relu() * (theta @ y.T).relu()
    k = ArcCosine(d).pair(x, y).diagonal()
    error = product.std(0) / math.sqrt(n)
    assert bool(((product.mean(0) - k).abs() < 5 * error).all())
    assert bool(((product.mean(0) - k * d / (d + 1)).abs() > 5 * error).any())  # the data tell d from d + 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("phi", "domain", "formula"), KERNELS, ids=IDS)
def test_coincident_points_give_no_nan_and_no_gradient(phi: Feature, domain: Domain, formula: Any, dtype: torch.dtype) -> None:
    """Each atom alone, at itself: the tangent gradient is 0 up to the root of the rounding unit, by which r is known."""
    points = domain.sample(normals(50, 3)).to(dtype)
    points = domain.project(torch.cat([points, points, -points]))
    slack = 4 * math.sqrt(torch.finfo(dtype).eps) / 0.6
    for i in range(50):
        field = Chunked().field(phi, points[i : i + 1], on(points[i : i + 1], domain), Need.BOTH)
        assert float(domain.tangent(points[i : i + 1], field.grad).norm()) <= slack
        assert float(field.value) == pytest.approx(float(formula(1.0 if phi.form == "dot" else 0.0)), abs=slack)
    many = Chunked(tile=100).field(phi, points, on(points, domain), Need.BOTH)
    exact = Chunked().field(phi, points.double(), on(points.double(), domain), Need.BOTH)
    assert float((many.value - exact.value).abs().max()) <= slack
    assert float((many.grad - exact.grad).norm(dim=1).max()) <= slack
    assert bool(torch.isfinite(many.grad).all())


@pytest.mark.parametrize(("phi", "domain", "formula"), KERNELS, ids=IDS)
def test_torchs_own_gradient_of_the_whole_matrix_has_no_nan(phi: Feature, domain: Domain, formula: Any) -> None:
    points = domain.sample(normals(20, 3))
    leaf = points.clone().requires_grad_()
    (grad,) = torch.autograd.grad(phi.pair(leaf, points).mean(1).sum(), leaf)
    by_hand = Chunked().field(phi, points, on(points, domain), Need.GRAD).grad
    torch.testing.assert_close(domain.tangent(points, grad), domain.tangent(points, by_hand), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("phi", "domain", "formula"), KERNELS, ids=IDS)
def test_keops_agrees_also_where_points_coincide(phi: Feature, domain: Domain, formula: Any) -> None:
    source = measure(Space(domain, 3), 15, signed=True)
    at = torch.cat([source.points[:5], domain.sample(normals(10, 3, seed=4))])
    field = KeOps().field(phi, at, source, Need.BOTH)
    torch.testing.assert_close(field.value, dense(phi, at, source), rtol=1e-9, atol=1e-9)
    leaf = at.clone().requires_grad_()
    (grad,) = torch.autograd.grad(dense(phi, leaf, source).sum(), leaf)
    torch.testing.assert_close(domain.tangent(at, field.grad), domain.tangent(at, grad), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("phi", "most"), [(ArcCosine(3), 1), (Laplace(), 1), (EnergyDistance(), 1)], ids=str)
def test_derivatives_that_do_not_exist_are_refused(phi: Feature, most: int) -> None:
    assert phi.orders == most
    with pytest.raises(ValueError, match=f"order {most + 1}"):
        phi.profile(torch.tensor([0.5]), most + 1)


def pair_of_measures(domain: Domain, n: int, m: int, shift: float = 0.5) -> System:
    first = torch.eye(1, 3, dtype=torch.float64) * shift
    nu, data = domain.project(domain.sample(normals(n, 3)) + first), domain.sample(normals(m, 3, seed=1))
    return System({"nu": on(nu, domain), "data": on(data, domain)})


@pytest.mark.parametrize(("phi", "domain", "formula"), KERNELS, ids=IDS)
def test_both_functionals_are_double_sums(phi: Feature, domain: Domain, formula: Any) -> None:
    system = pair_of_measures(domain, 40, 30)
    x, y = system["nu"].points, system["data"].points
    inside = [formula(argument(phi, a, b)).mean() for a, b in ((x, x), (x, y), (y, y))]
    squared = inside[0] - 2 * inside[1] + inside[2]
    # r is known to 1e-8 where x = y, in 1/40 and 1/30 of the terms
    assert float(Mmd(phi, penalty=0.3).value(system, Chunked())) == pytest.approx(squared / 0.6, abs=1e-8)
    assert float(MmdBall(phi, radius=3.0).value(system, Chunked())) == pytest.approx(3 * math.sqrt(squared), abs=1e-6)


def test_energy_distance_on_the_line_is_cramers() -> None:
    """MMD^2 for -|x - y| is 2 integral (F - G)^2 dx, with the two distribution functions."""
    x, y = np.sort(normals(50, 1).numpy()[:, 0]), np.sort(0.7 * normals(40, 1, seed=1).numpy()[:, 0] + 0.3)
    knots = np.sort(np.concatenate([x, y]))
    gap = np.searchsorted(x, knots[:-1], side="right") / 50 - np.searchsorted(y, knots[:-1], side="right") / 40
    system = System({"nu": on(torch.from_numpy(x)[:, None], Euclidean()), "data": on(torch.from_numpy(y)[:, None], Euclidean())})
    value = float(Mmd(EnergyDistance(), penalty=0.5).value(system, Chunked()))
    assert value == pytest.approx(2 * float((gap**2 * np.diff(knots)).sum()), abs=1e-8)


def test_energy_of_the_ball_has_the_prescribed_norm_and_attains_the_supremum() -> None:
    """integral f d(nu - nu_n) = R MMD, and |f|_F2 = R: (R / MMD) times the witness, whose norm is MMD."""
    system, R = pair_of_measures(Sphere(), 60, 50), 2.5
    coupling = MmdBall(ArcCosine(3), radius=R)
    f = coupling.energy(system, Chunked())
    mean = {name: float(f(system[name].points, Need.VALUE).value.mean()) for name in ("nu", "data")}
    assert mean["nu"] - mean["data"] == pytest.approx(float(coupling.value(system, Chunked())), rel=1e-9)
    F = Mmd(ArcCosine(3)).energy(system, Chunked())(normals(5, 3), Need.BOTH)
    discrepancy = float(coupling.value(system, Chunked())) / R
    torch.testing.assert_close(f(normals(5, 3), Need.BOTH).value, F.value * (R / discrepancy))
    torch.testing.assert_close(f(normals(5, 3), Need.BOTH).grad, F.grad * (R / discrepancy))


def ball(feature: Any, dtype: str, steps: int, n: int = 200, **changes: Any) -> dict[str, Any]:
    return {
        "name": "ball",
        "steps": steps,
        "step": 0.01,
        "dtype": dtype,
        "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": n},
        "measures": {"nu": {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "noise": "antithetic"}]}},
        "coupling": {"kind": "mmd-ball", "feature": feature, "radius": 10.0},
        **changes,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("feature", [{"kind": "arc-cosine", "dim": 15}, "gaussian", "laplace", "energy-distance"], ids=str)
@pytest.mark.parametrize("n", [7, 300])
def test_ball_starts_at_the_data_without_a_nan(registry: Registry, feature: Any, dtype: str, n: int) -> None:
    built = build(from_tables(ball(feature, dtype, 6, n), registry), registry)
    coupling, reducer = built.view.coupling, built.view.reducer
    f = coupling.energy(built.system, reducer)(built.system["nu"].points, Need.BOTH)
    assert float(coupling.value(built.system, reducer)) == 0
    assert not f.value.any()
    assert not f.grad.any()
    *_, last = run(built.dynamics, built.system, 6)
    assert float(coupling.value(last, reducer)) > 0
    end = coupling.energy(last, reducer)(last["nu"].points, Need.BOTH)
    assert bool(torch.isfinite(end.value).all() & torch.isfinite(end.grad).all())


@pytest.mark.parametrize(
    ("data", "feature", "says"),
    [
        ({}, {"kind": "arc-cosine", "dim": 14}, "dim = 14, and the data live in d = 15; set dim = 15"),
        ({"kind": "file", "path": "x.npy"}, {"kind": "arc-cosine", "dim": 2}, "points of a sphere, these live on euclidean"),
        ({"kind": "file", "path": "x.npy"}, "relu-affine", "relu-affine treats its two arguments differently"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(
    registry: Registry, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], feature: Any, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.zeros((5, 2)))
    tables = ball(feature, "float64", 1, **({"data": data} if data else {}))
    with pytest.raises(MeasureflowError, match=says):
        build(from_tables(tables, registry), registry)


def test_gaussian_discrepancy_of_two_gaussians() -> None:
    """E MMD^2 in closed form: (l^2/(l^2 + 2))^(d/2) (2 - 2 exp(-|a|^2 / (2 (l^2 + 2)))), plus the diagonals' share."""
    n, d, length = 3000, 3, 0.9
    a = torch.tensor([1.2, 0.0, -0.5], dtype=torch.float64)
    system = System({"nu": on(normals(n, d) + a, Euclidean()), "data": on(normals(n, d, seed=1), Euclidean())})
    base = (length**2 / (length**2 + 2)) ** (d / 2)
    exact = base * (2 - 2 * math.exp(-float(a @ a) / (2 * (length**2 + 2)))) + 2 * (1 - base) / n
    value = float(Mmd(Gaussian(length), penalty=0.5).value(system, Chunked()))
    F = Mmd(Gaussian(length)).energy(system, Chunked())
    spread = 2 * math.sqrt(sum(float(F(system[name].points, Need.VALUE).value.var()) for name in ("nu", "data")) / n)
    assert abs(value - exact) < 5 * spread  # the delta method: MMD^2 moves by twice the mean of the witness
    assert 5 * spread < 0.25 * exact


@pytest.mark.parametrize("d", [2, 3, 15])
@pytest.mark.parametrize("coupling", [Mmd, MmdBall])
def test_what_is_no_kernel_is_refused(coupling: type[Mmd | MmdBall], d: int) -> None:
    """relu(cos a) = 1/pi + cos a / 2 + 2/(3 pi) cos 2a - 2/(15 pi) cos 4a + ...: not positive definite."""
    with pytest.raises(MeasureflowError, match="treats its two arguments differently"):
        coupling(ReluAffine()).spaces(Space(Euclidean(), d))
    with pytest.raises(MeasureflowError, match=r"relu is no positive definite kernel \(smallest eigenvalue -0\.5"):
        coupling(Relu()).spaces(Space(Sphere(), d))  # 24/2 times -2/(15 pi), and aliases of smaller terms


@pytest.mark.parametrize("d", [1, 2, 15])
def test_kernels_are_let_through(d: int) -> None:
    for phi in (Laplace(), InverseMultiquadric(), EnergyDistance(), Gaussian()):
        assert Mmd(phi).spaces(Space(Euclidean(), d)) == {"nu": Space(Euclidean(), d)}
    assert MmdBall(ArcCosine(d)).spaces(Space(Sphere(), d)) == {"nu": Space(Sphere(), d)}


def harmonic(phi: Feature, theta: torch.Tensor, degree: int) -> float:
    """The integral of phi(x, theta) P_degree(t) over x = (sqrt(1 - t^2), 0, t), exact on both sides of t = -theta_4 / theta_3."""
    kink = max(-float(theta[3] / theta[2]), -1.0) if len(theta) > 3 else 0.0
    nodes, weights = np.polynomial.legendre.leggauss(12)  # exact up to degree 23
    total = 0.0
    for low, high in ((-1.0, kink), (kink, 1.0)):
        t = (high + low) / 2 + (high - low) / 2 * nodes
        x = torch.from_numpy(np.stack([np.sqrt(1 - t**2), 0 * t, t], 1))
        values = phi.pair(x, theta[None])[:, 0].numpy()
        total += (high - low) / 2 * float(weights @ (values * np.polynomial.Legendre.basis(degree)(t)))
    return total


@pytest.mark.parametrize("power", [1, 2])
def test_relu_on_a_sphere_lacks_the_harmonics_that_it_is_said_to_lack(power: int) -> None:
    """Funk and Hecke: the harmonics of degree l in x of phi(<x, theta>) are those of theta times this integral."""
    pole = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    shifted = torch.tensor([0.0, 0.0, 0.8, 0.6], dtype=torch.float64)
    for degree in range(9):
        lacking = degree > power and (degree - power) % 2 == 0
        rounding = 1e-12  # of 24 terms below 1
        assert (abs(harmonic(Relu(power=power), pole, degree)) < rounding) is lacking
        assert abs(harmonic(ReluAffine(power=power), shifted, degree)) > rounding
