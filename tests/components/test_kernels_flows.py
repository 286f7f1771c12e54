"""Discrepancy flows and frozen features: fixed points, dissipation, and the agreement of the two forms of F2."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Coupling, Linear
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.simulate import apply_flows, run
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, World
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import Quadratic, measure, normals, stepped
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.couplings.mmd import Mmd
from measureflow_plugins.couplings.mmd_ball import MmdBall
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.arc_cosine import ArcCosine
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows.additive import Additive
from measureflow_plugins.flows.l2_ball import L2Ball
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.noisy_transport import NoisyTransport
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.inits.orthogonal import Orthogonal
from measureflow_plugins.inits.uniform import Uniform

FIVE = 5.0  # standard errors


def moving(flows: tuple[Flow, ...], coupling: Coupling, system: System, h: float, steps: int, seed: int = 0) -> list[System]:
    """The system at every step, nu moved by its flows."""
    dynamics = Dynamics(coupling, {"nu": flows}, 1.0, seed=seed)
    path = [system]
    for _ in range(steps):
        system = system.replace({"nu": apply_flows(dynamics, "nu", system, h)}).tick(h)
        path.append(system)
    return path


# The noisy flow's fixed point


def circle(angle: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def fixed_point(k: Callable[[np.ndarray, np.ndarray], np.ndarray], data: np.ndarray, penalty: float, size: int = 720) -> np.ndarray:
    """rho = dnu/dtau on a grid of S^1 with log rho + f = constant, f = (1/penalty) int k d(nu - nu_n), by damped iteration."""
    x = circle((np.arange(size) + 0.5) * 2 * np.pi / size)
    K, b, rho = k(x, x) / size, k(x, data).mean(1), np.ones(size)
    for _ in range(5000):
        gibbs = np.exp(-(K @ rho - b) / penalty)
        gibbs /= gibbs.mean()
        if np.abs(gibbs - rho).max() < 1e-10:
            return rho
        rho = 0.9 * rho + 0.1 * gibbs
    raise AssertionError("the iteration did not settle")


def gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-((x[:, None] - y) ** 2).sum(2) / (2 * 0.5**2))


def arc_cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    t = np.clip(x @ y.T, -1, 1)
    return (np.sqrt(1 - t * t) + (np.pi - np.arccos(t)) * t) / (4 * np.pi)


def two_clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    return circle(np.concatenate([rng.normal(0, 0.25, 120), rng.normal(2.2, 0.3, 80)]))


def settles(phi: Feature, k: Callable[[np.ndarray, np.ndarray], np.ndarray], penalty: float, n: int, bins: int) -> None:
    """n particles after time 4 (the slowest mode has decayed by e^-4 or more) against the grid's density: Pearson's chi^2.

    Repulsion makes counts vary less than multinomial ones, so that the test is one-sided. Other laws are far outside.
    """
    data = two_clusters()
    start = System({
        "nu": Particles.uniform(Sphere().sample(normals(n, 2)), Sphere()),
        "data": Particles.uniform(torch.from_numpy(data), Sphere()),
    })  # fmt: skip
    end = moving((Langevin(method="geodesic"),), Mmd(phi, penalty=penalty), start, 0.02, 200)[-1]
    points = end["nu"].points.numpy()
    angle = np.arctan2(points[:, 1], points[:, 0]) % (2 * np.pi)
    counts = np.bincount((angle * (bins / (2 * np.pi))).astype(int), minlength=bins)

    def chi2(density: np.ndarray) -> float:
        expected = n * density.reshape(bins, -1).mean(1) / bins
        assert expected.min() > 5
        return float(((counts - expected) ** 2 / expected).sum())

    limit = float(stats.chi2.isf(1e-4, bins - 1))
    print(f"{phi}: chi^2 {chi2(fixed_point(k, data, penalty)):.1f} with {bins - 1} degrees of freedom, limit {limit:.1f}")
    assert chi2(fixed_point(k, data, penalty)) < limit
    assert chi2(np.ones(720)) > 5 * limit
    assert chi2(fixed_point(k, data, 3 * penalty)) > limit


def test_noisy_flow_settles_at_the_fixed_point_on_the_circle() -> None:
    settles(Gaussian(0.5), gaussian, 0.05, 1000, 15)


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "k", "penalty"), [(Gaussian(0.5), gaussian, 0.05), (ArcCosine(2), arc_cosine, 0.01)], ids=str)
def test_noisy_flow_settles_at_the_fixed_point_with_more_particles(phi: Feature, k: Any, penalty: float) -> None:
    settles(phi, k, penalty, 4000, 24)


# The noiseless flow


def apart(n: int, m: int, shift: float) -> System:
    domain, move = Euclidean(), torch.tensor([shift, 0.0], dtype=torch.float64)
    nu, data = 0.5 * normals(n, 2) + move, 0.5 * normals(m, 2, seed=1)
    return System({"nu": Particles.uniform(nu, domain), "data": Particles.uniform(data, domain)})


def test_noiseless_flow_never_raises_the_discrepancy_at_small_steps() -> None:
    """dE/dt = -mean |grad V|^2: E falls at every step, by that much up to O(h^2)."""
    coupling, h = Mmd(Gaussian(0.8), penalty=0.1), 0.01
    path = moving((Wasserstein(),), coupling, apart(80, 60, 1.5), h, 300)
    E = [float(coupling.value(system, Chunked())) for system in path]
    assert all(after <= before for before, after in itertools.pairwise(E))
    assert E[-1] < 0.1 * E[0]
    rates = []
    for size in (h, h / 2):
        first, second = moving((Wasserstein(),), coupling, path[20], size, 1)
        grad = coupling.bind("nu", first, Chunked())(first["nu"].points, Need.GRAD).grad
        slope = float(coupling.value(second, Chunked()) - coupling.value(first, Chunked())) / size
        rates.append(slope / -float(grad.square().sum(1).mean()) - 1)
    assert rates[0] / rates[1] == pytest.approx(2.0, rel=0.1)  # the remainder is of order h
    assert abs(rates[1]) < 0.1


# Noise injection


def test_injection_at_level_0_is_plain_transport() -> None:
    for space in (Space(Sphere(), 4), Space(Euclidean(), 3)):
        mu = measure(space, 20, signed=True)
        plain, injected = stepped(Wasserstein(rate=2.0), mu, 0.1), stepped(NoisyTransport(rate=2.0, level=0.0), mu, 0.1)
        assert torch.equal(plain.points, injected.points)


@pytest.mark.parametrize("method", ["euler", "geodesic"])
def test_injection_moves_nothing_where_the_potential_is_constant_on_the_sphere(method: Any) -> None:
    """V = |x|^2 / 2: its gradient is normal to the sphere at every point, however far away it is read."""
    mu, V = measure(Space(Sphere(), 4), 50), Quadratic(torch.eye(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    for level in (0.1, 1.0, 10.0):
        after = stepped(NoisyTransport(level=level, method=method), mu, 0.1, V)
        torch.testing.assert_close(after.points, mu.points, rtol=0, atol=1e-15)


def test_injected_noise_is_read_not_added() -> None:
    """V = <x, A x>/2: p moves by -h A (p + level u), so its law is Gaussian with mean p - h A p and covariance (h level)^2 A^2."""
    n, h, level = 20_000, 0.3, 0.7
    A = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    p = torch.tensor([1.0, -2.0], dtype=torch.float64)
    mu = Particles.uniform(p.expand(n, 2).clone(), Euclidean())
    move = stepped(NoisyTransport(level=level), mu, h, Quadratic(A, torch.zeros(2, dtype=torch.float64))).points - p
    covariance = (h * level) ** 2 * A @ A
    assert bool(((move.mean(0) + h * A @ p).abs() < FIVE * (covariance.diagonal() / n).sqrt()).all())
    spread = ((torch.outer(covariance.diagonal(), covariance.diagonal()) + covariance.square()) / n).sqrt()
    assert bool(((move.T.cov() - covariance).abs() < FIVE * spread).all())


def test_injection_leaves_a_linear_potential_alone() -> None:
    V = Quadratic(torch.zeros(3, 3, dtype=torch.float64), normals(3))
    mu = measure(Space(Euclidean(), 3), 10)
    torch.testing.assert_close(stepped(NoisyTransport(level=3.0), mu, 0.1, V).points, stepped(Wasserstein(), mu, 0.1, V).points)


def test_injection_reads_a_smoothed_potential_and_so_sees_data_far_away() -> None:
    """In the mean it descends V * N(0, level^2 I): a Gaussian kernel of squared length l^2 + level^2, times (l/that)^d.

    One data point, ten kernel lengths away: the plain gradient is e^-50 of itself there.
    """
    n, length, level, h = 40_000, 0.5, 2.0, 0.2
    p = torch.tensor([5.0, 0.0], dtype=torch.float64)
    data = Particles.uniform(torch.zeros(1, 2, dtype=torch.float64), Euclidean())
    V = Linear(Chunked(), Gaussian(length), ((-1.0, data),))
    mu = Particles.uniform(p.expand(n, 2).clone(), Euclidean())
    move = stepped(NoisyTransport(level=level), mu, h, V).points - p
    wide = length**2 + level**2
    smoothed = -h * (length**2 / wide) * math.exp(-25 / (2 * wide)) * p / wide
    assert bool(((move.mean(0) - smoothed).abs() < FIVE * move.std(0) / math.sqrt(n)).all())
    assert float(smoothed.norm()) > 2 * FIVE * float(move.std(0).max()) / math.sqrt(n)
    assert float((stepped(Wasserstein(), mu, h, V).points - p).abs().max()) < 1e-18


# Frozen features


def frozen(init: Orthogonal | Uniform, d: int, seed: int) -> Particles:
    sphere, setting = Space(Sphere(), d), Setting(Keyed(seed), torch.float64, torch.device("cpu"))
    return init.measure(sphere, World(sphere, {}), setting)


def two_samples(d: int, seed: int = 0) -> System:
    """nu uniform, data gathered round one pole."""
    pole = torch.eye(1, d, dtype=torch.float64) * 1.5
    nu, data = normals(200, d, seed=seed), normals(150, d, seed=seed + 1) + pole
    return System(
        {"nu": Particles.uniform(Sphere().project(nu), Sphere()), "data": Particles.uniform(Sphere().project(data), Sphere())}
    )


def relative_error(init: Orthogonal | Uniform, d: int, seed: int) -> float:
    """L2 distance of the two energies of F2 with R = 2 at fixed nu, relative to the kernel's."""
    system, at = two_samples(d), Sphere().sample(normals(100, d, seed=9))
    system = system.replace({"gamma": frozen(init, d, seed)})
    coupling = DualEbm(Relu())
    dynamics = Dynamics(coupling, {"gamma": (Additive(rate=1e6), L2Ball(radius=2.0))}, 1.0)
    trained = system.replace({"gamma": apply_flows(dynamics, "gamma", system, 1.0)})
    f = coupling.energy(trained, Chunked())(at, Need.VALUE).value
    exact = MmdBall(ArcCosine(d), radius=2.0).energy(system, Chunked())(at, Need.VALUE).value
    return float((f - exact).norm() / exact.norm())


def rms(init: Orthogonal | Uniform, d: int, seeds: int) -> float:
    return math.sqrt(sum(relative_error(init, d, seed) ** 2 for seed in range(seeds)) / seeds)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_frozen_features_approach_the_kernel_like_one_over_root_m(orthogonal: bool) -> None:
    sizes = [48, 192, 768, 3072]
    inits = [Orthogonal(m, tv=1e-9) if orthogonal else Uniform(m, tv=1e-9) for m in sizes]
    errors = [rms(init, 3, 30) for init in inits]
    slope = float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])
    print(f"orthogonal {orthogonal}: errors {errors}, slope {slope:.3f}")
    assert -0.6 < slope < -0.4


def test_4096_orthogonal_features_are_within_two_percent_in_three_dimensions() -> None:
    errors = [relative_error(Orthogonal(4096, tv=1e-9), 3, seed) for seed in range(10)]
    print(f"d = 3, m = 4096: whole blocks with antipodes {errors}; pairs {rms(Orthogonal(4096, 2, False, tv=1e-9), 3, 10)}")
    assert max(errors) < 0.015  # root mean square .0044


def test_whole_blocks_with_antipodes_halve_the_error_in_fifteen_dimensions_and_mere_pairs_do_not() -> None:
    m, d, seeds = 960, 15, 25
    errors = {
        "independent": rms(Uniform(m, tv=1e-9), d, seeds),
        "orthogonal pairs": rms(Orthogonal(m, 2, False, tv=1e-9), d, seeds),
        "antipodal pairs": rms(Orthogonal(m, 1, True, tv=1e-9), d, seeds),
        "blocks": rms(Orthogonal(m, None, False, tv=1e-9), d, seeds),
        "blocks and antipodes": rms(Orthogonal(m, None, True, tv=1e-9), d, seeds),
    }
    print(errors)
    assert errors["independent"] < 0.22
    assert errors["blocks and antipodes"] < 0.04
    assert min(errors["orthogonal pairs"], errors["antipodal pairs"]) > 0.5 * errors["independent"]


def test_blocks_are_orthonormal_uniform_and_cut_to_size() -> None:
    mu = frozen(Orthogonal(4 * 3 + 2, antipodal=False, signs="balanced", tv=2.0), 3, 0)
    blocks = mu.points[:12].view(4, 3, 3)
    torch.testing.assert_close(blocks @ blocks.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    assert mu.size == 14
    assert float(mu.log_mass.exp().sum()) == pytest.approx(2.0)
    assert float(mu.sign.sum()) == 0
    pairs = frozen(Orthogonal(12, block=2), 5, 0).points.view(3, 2, 2, 5)
    assert torch.equal(pairs[:, 0], -pairs[:, 1])
    n = 30_000
    first = frozen(Orthogonal(n, block=2, antipodal=False), 3, 1).points[::2]
    assert float(first.mean(0).abs().max()) < FIVE / math.sqrt(3 * n / 2)
    assert float((first.T @ first / (n / 2) - torch.eye(3) / 3).abs().max()) < FIVE * math.sqrt(0.1 / (n / 2))


def test_blocks_are_refused_off_the_sphere_and_beyond_the_dimension() -> None:
    with pytest.raises(MeasureflowError, match="blocks lie on a sphere, and this measure on euclidean"):
        Orthogonal(5).measure(
            Space(Euclidean(), 3), World(Space(Euclidean(), 3), {}), Setting(Keyed(0), torch.float64, torch.device("cpu"))
        )
    with pytest.raises(MeasureflowError, match="block: 4 orthonormal vectors do not fit in d = 3; at most 3 do"):
        frozen(Orthogonal(5, block=4), 3, 0)


def test_additive_masses_move_linearly_and_change_sign() -> None:
    mu = measure(Space(Sphere(), 3), 12, signed=True)
    V = Quadratic(normals(3, 3, seed=2), normals(3, seed=3))
    once = stepped(Additive(rate=2.0), mu, 4.0, V)
    expected = mu.mass - 8.0 * V(mu.points, Need.VALUE).value / 12
    torch.testing.assert_close(once.mass, expected)
    assert bool((once.sign != mu.sign).any())
    assert torch.equal(once.points, mu.points)


def test_a_mass_that_comes_to_zero_stays_finite_and_comes_back() -> None:
    mu = Particles.uniform(torch.ones(4, 1, dtype=torch.float64), Euclidean())
    V = Quadratic(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
    gone = stepped(Additive(), mu, 1.0, V)  # h_j = 1 - 1
    assert bool(torch.isfinite(gone.log_mass).all())
    assert float(gone.mass.abs().max()) < 1e-300
    torch.testing.assert_close(stepped(Additive(), gone, 1.0, V).mass, torch.full((4,), -0.25, dtype=torch.float64))


def test_l2_ball_scales_from_outside_and_leaves_the_inside_alone() -> None:
    mu = measure(Space(Sphere(), 3), 10, signed=True)
    norm = float((10 * mu.mass).square().mean().sqrt())
    inside, outside = stepped(L2Ball(radius=norm * 1.01), mu, 0.1), stepped(L2Ball(radius=norm / 3), mu, 0.1)
    assert torch.equal(inside.log_mass, mu.log_mass)
    torch.testing.assert_close(outside.mass, mu.mass / 3)


# The two forms of F2, trained


def trained(registry: Registry, features: int = 0, seed: int = 0) -> Tensor:
    """The learned energy at 500 points, centred and averaged over the last third of the run."""
    walkers = {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "noise": "antithetic", "method": "geodesic"}]}
    tables: dict[str, Any] = {
        "name": "f2",
        "seed": seed,
        "steps": 90,
        "step": 0.03,
        "dtype": "float64",
        "data": {"kind": "teacher", "neurons": "sphere-146", "weights": [-10.0, -10.0], "train": 120},
        "measures": {"nu": walkers},
        "coupling": {"kind": "mmd-ball", "feature": {"kind": "arc-cosine", "dim": 3}, "radius": 10.0},
    }
    if features:
        # a rate without bound makes the weights the maximiser at every step, as the kernel's are
        flows = [{"kind": "additive", "rate": 1e9}, {"kind": "l2-ball", "radius": 10.0}]
        tables["measures"]["gamma"] = {"init": {"kind": "orthogonal", "size": features, "tv": 1e-9}, "flows": flows}
        tables["coupling"] = {"kind": "dual-ebm", "feature": "relu"}
    built = build(from_tables(tables, registry), registry)
    at, total = Sphere().sample(normals(500, 3, seed=9)), torch.zeros(500, dtype=torch.float64)
    for system in run(built.dynamics, built.system, 90):
        if system.step > 60:
            f = built.view.coupling.energy(system, built.view.reducer)(at, Need.VALUE).value
            total += (f - f.mean()) / 30
    return total


def test_the_kernel_and_its_frozen_features_learn_the_same_energy(registry: Registry) -> None:
    """The error of m features is steady over seeds and falls like m^-1/2; a kernel off by some percent would be its floor."""
    sizes, seeds = (252, 1020, 4080), range(4)
    kernels = [trained(registry, seed=seed) for seed in seeds]
    errors = [[_apart(trained(registry, m, seed), kernels[seed]) for seed in seeds] for m in sizes]
    typical = np.sqrt(np.square(errors).mean(1))
    print(f"relative L2 of {sizes} frozen features: {errors}, in the root mean square {typical}")
    assert max(errors[1]) < 0.06
    assert -0.6 < np.polyfit(np.log(sizes), np.log(typical), 1)[0] < -0.4


def _apart(f: Tensor, kernel: Tensor) -> float:
    return float((f - kernel).norm() / kernel.norm())
