"""Metrics against closed forms and dense formulas; tolerances are 4 of a metric's own error bars, or rounding."""

import itertools
import math
import sys
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from scipy import special
from small import TABLES

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Domain
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Potential
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import View
from measureflow.observe.observer import measured
from measureflow.observe.source import Setting
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import Alone, dense, normals
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.gaussian_polynomial import GaussianPolynomial
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.metrics import _gibbs as gibbs_module
from measureflow_plugins.metrics._ascent import highest
from measureflow_plugins.metrics._gibbs import Rule, gibbs
from measureflow_plugins.metrics._quadrature import quadrature
from measureflow_plugins.metrics._stein import operator, stein
from measureflow_plugins.metrics.gap import Gap
from measureflow_plugins.metrics.gibbs_energy import GibbsEnergy
from measureflow_plugins.metrics.kernel_stein import KernelStein
from measureflow_plugins.metrics.kl import Kl
from measureflow_plugins.metrics.mmd import Mmd
from measureflow_plugins.metrics.nll import Nll
from measureflow_plugins.metrics.score import Score
from measureflow_plugins.metrics.sinkhorn import Sinkhorn
from measureflow_plugins.sources.teacher import Teacher

FOUR = 4.0  # standard errors: one false alarm in sixteen thousand
LIKE = torch.zeros(1, dtype=torch.float64)
ROUNDING = 1e-10
PAPER = {"monomodal": (1.9649, -3.0942), "bimodal": (1.3853, -1.7666)}


@attrs.frozen(eq=False)
class Quadratic(Potential):
    """f(x) = <a, x> + k |x|^2 / 2."""

    a: torch.Tensor
    k: float = 0.0

    def __call__(self, at: torch.Tensor, need: Need) -> Field:
        return Field(at @ self.a + 0.5 * self.k * at.square().sum(1), self.a + self.k * at)


def view(energy: Potential, seed: int = 0) -> View:
    return View(Alone(energy), Chunked(), Keyed(seed), None)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def positive(points: torch.Tensor, domain: Domain, spread: float = 0.0) -> Particles:
    """Atoms of mass about 1 in all, equal or not."""
    mu = Particles.uniform(points, domain)
    return mu.replace(log_mass=mu.log_mass + spread * normals(mu.size, seed=77)) if spread else mu


# Quadrature


@pytest.mark.parametrize(("d", "nodes"), [(2, 16), (3, 16)])
def test_quadrature_is_exact_for_polynomials_below_its_degree(d: int, nodes: int) -> None:
    """E prod x_i^p_i = prod Gamma(p_i/2 + 1/2) Gamma(d/2) / (Gamma(1/2)^d Gamma(sum p_i/2 + d/2)), 0 for an odd power."""
    tau = quadrature(Sphere(), d, nodes, LIKE)
    assert float(tau.total) == pytest.approx(1, abs=1e-14)
    for powers in itertools.product(range(8), repeat=d):
        if sum(powers) < nodes - 1:
            even = all(p % 2 == 0 for p in powers)
            logs = sum(math.lgamma(p / 2 + 0.5) - math.lgamma(0.5) for p in powers)
            exact = math.exp(logs + math.lgamma(d / 2) - math.lgamma(sum(powers) / 2 + d / 2)) if even else 0.0
            got = (tau.mass * torch.stack([tau.points[:, i] ** p for i, p in enumerate(powers)]).prod(0)).sum()
            assert float(got) == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize("d", [2, 3])
def test_von_mises_fisher_in_closed_form(d: int) -> None:
    """f = -kappa <a, x>: log Z = log I0(kappa) on S^1, log(sinh kappa / kappa) on S^2; E f = -kappa A(kappa)."""
    kappa, a = 6.0, normals(d)
    f = Quadratic(-kappa * a / a.norm())
    log_z = math.log(special.i0(kappa)) if d == 2 else math.log(math.sinh(kappa) / kappa)
    mean = -kappa * (special.i1(kappa) / special.i0(kappa) if d == 2 else 1 / math.tanh(kappa) - 1 / kappa)
    at = positive(Sphere().sample(normals(30, d, seed=3)), Sphere(), 0.5)
    system, rule = System({"test": at, "nu": at}), Rule(nodes=128)
    here = float((at.mass * f(at.points, Need.VALUE).value).sum() / at.total)
    nll = Nll(gibbs=rule).measure(system, view(f))
    assert float(nll["nll.log_z"]) == pytest.approx(log_z, abs=ROUNDING)
    assert float(nll["nll.error"]) < ROUNDING
    assert float(nll["nll"]) == pytest.approx(here + log_z, abs=ROUNDING)
    area = 2 * math.pi if d == 2 else 4 * math.pi
    assert float(Nll(gibbs=rule, area=True).measure(system, view(f))["nll"]) == pytest.approx(
        here + log_z + math.log(area), abs=ROUNDING
    )
    tempered = Nll(gibbs=rule, beta=2.0).measure(system, view(Quadratic(f.a / 2)))
    assert float(tempered["nll"]) == pytest.approx(here + log_z, abs=ROUNDING)
    energy = GibbsEnergy(gibbs=rule).measure(system, view(f))
    assert float(energy["gibbs-energy.law"]) == pytest.approx(mean, abs=ROUNDING)
    assert float(energy["gibbs-energy"]) == pytest.approx(here - mean, abs=ROUNDING)


def test_area_is_refused_off_the_sphere() -> None:
    at = positive(normals(5, 2), Euclidean(base="gaussian"))
    with pytest.raises(MeasureflowError, match="area = true is for data on a sphere"):
        Nll(area=True).measure(System({"test": at}), view(Quadratic(vector(0, 0))))


def planted(neurons: str, weights: tuple[float, ...] = (-10.0, -10.0), n: int = 1000) -> tuple[System, View]:
    """A teacher's world in which the student is the teacher."""
    made = Teacher(neurons=neurons, weights=weights, train=n).world(Setting(Keyed(0), torch.float64, torch.device("cpu")))
    system = System({**made.measures, "gamma": made.measures["teacher"], "nu": made.measures["data"]})
    return system, View(DualEbm(feature=Relu()), Chunked(), Keyed(1), made.truth)


def test_log_z_and_energy_of_the_teacher_by_quadrature() -> None:
    """A kink's quadrature error is about nodes^-2, which half the nodes show."""
    system, through = planted("sphere-146")
    nll = Nll().measure(system.replace({"test": system["data"]}), through)
    assert abs(float(nll["nll.log_z"]) - through.planted.log_z) < 4 * float(nll["nll.error"]) + 1e-6
    assert float(nll["nll.error"]) < 1e-3
    energy = GibbsEnergy().measure(system, through)
    assert float(energy["gibbs-energy.law"]) == pytest.approx(through.planted.energy_mean, abs=1e-3)


# Annealed importance sampling


@pytest.mark.parametrize("neurons", list(PAPER))
def test_annealing_finds_the_papers_log_z_and_energy(neurons: str) -> None:
    system, through = planted(neurons)
    rule = Rule(chains=1000, temperatures=100)
    law = gibbs(through.coupling.energy(system, through.reducer), 1.0, system["nu"], rule, through.noise)
    log_z, mean = PAPER[neurons]
    assert abs(float(law.log_z) - log_z) < FOUR * float(law.error) + 5e-5  # the figures' last digit
    assert float(law.error) < 0.05
    assert 0.3 < float(law.ess) <= 1
    got, error = law.mean(through.coupling.energy(system, through.reducer))
    assert abs(float(got) - mean) < FOUR * float(error) + 5e-5


@pytest.mark.parametrize("domain", [Euclidean(), Euclidean(base="gaussian", variance=2.0)], ids=["flat", "gaussian"])
def test_annealing_of_a_gaussian_energy_on_a_flat_and_a_gaussian_base(domain: Euclidean) -> None:
    """f = <a, x> + k |x|^2/2: log Z = v |a|^2 / (2 (1 + k v)) - d/2 log(1 + k v) on N(0, v), |a|^2/2k + d/2 log(2 pi/k) flat."""
    d, k, a = 3, 4.0, vector(1.0, -2.0, 0.5)
    a2 = float(a.square().sum())
    if domain.flat:
        exact, mean = a2 / (2 * k) + d / 2 * math.log(2 * math.pi / k), -a / k
    else:
        v = domain.variance
        exact, mean = v * a2 / (2 * (1 + k * v)) - d / 2 * math.log(1 + k * v), -a * v / (1 + k * v)
    law = gibbs(Quadratic(a, k), 1.0, positive(normals(2, d), domain), Rule(chains=2000, temperatures=60), Keyed(0))
    assert abs(float(law.log_z) - exact) < FOUR * float(law.error)
    assert float(law.error) < 0.05
    for i in range(d):
        got, error = law.mean(Quadratic(torch.eye(d, dtype=torch.float64)[i]))
        assert abs(float(got) - float(mean[i])) < FOUR * float(error)


def test_annealing_on_the_torus() -> None:
    """f = -kappa sum cos x_i: log Z = d log I0(kappa), E cos x_i = I1 / I0; wide steps wrap round the circle."""
    kappa, d = 2.0, 2

    class Cosine(Potential):
        def __call__(self, at: torch.Tensor, need: Need) -> Field:
            return Field(-kappa * at.cos().sum(1), kappa * at.sin())

    law = gibbs(Cosine(), 1.0, positive(normals(2, d), Torus()), Rule(chains=2000, temperatures=30), Keyed(0))
    assert abs(float(law.log_z) - d * math.log(special.i0(kappa))) < FOUR * float(law.error)
    mean, error = law.mean(Cosine())
    assert abs(float(mean) + kappa * d * special.i1(kappa) / special.i0(kappa)) < FOUR * float(error)
    assert float(law.error) < 0.05


def test_annealing_error_bars_are_those_of_repetition() -> None:
    """Over 100 seeds the standardised errors of log Z have mean square 1, within 4 sqrt(2 / 100)."""
    f, home = Quadratic(vector(3.0, 0, 0, 0)), positive(normals(2, 4), Sphere())
    exact = math.log(2 * special.iv(1, 3.0) / 3.0)  # Gamma(d/2) (2/kappa)^(d/2-1) I_{d/2-1}(kappa)
    laws = [gibbs(f, 1.0, home, Rule(chains=64, temperatures=6), Keyed(seed)) for seed in range(100)]
    square = np.mean([((float(law.log_z) - exact) / float(law.error)) ** 2 for law in laws])
    assert abs(square - 1) < 4 * math.sqrt(2 / 100)


# Kernel Stein discrepancy

STEIN = {
    "flat": (Euclidean(), 3),
    "gaussian": (Euclidean(base="gaussian", variance=0.5), 2),
    "circle": (Sphere(), 2),
    "sphere": (Sphere(), 4),
}


def kernel_by_autograd(x: torch.Tensor, y: torch.Tensor, s: Any, length: float, sphere: bool) -> torch.Tensor:
    """u(x, y) for single points by automatic differentiation; on the sphere k(x/|x|, y/|y|), whose Laplacian is Beltrami's."""
    x, y = (point.clone().requires_grad_() for point in (x, y))
    unit = [point / point.norm() if sphere else point for point in (x, y)]
    k = torch.exp(-(unit[0] - unit[1]).square().sum() / (2 * length**2))

    def grad(g: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(g, at, create_graph=True)[0]

    def divergence(v: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return torch.stack([grad(v[i], at)[i] for i in range(len(v))]).sum()

    s_x, s_y = s(x.detach()), s(y.detach())
    in_x = grad(k, x)
    if not sphere:
        return (s_x @ s_y * k + s_x @ grad(k, y) + s_y @ in_x + divergence(in_x, y)).detach()
    once = s_x @ in_x + divergence(in_x, x)
    in_y = grad(once, y)
    return (s_y @ in_y + divergence(in_y, y)).detach()


@pytest.mark.parametrize("where", list(STEIN))
def test_stein_kernel_and_its_reductions_against_autograd(where: str) -> None:
    domain, d = STEIN[where]
    length, f = 0.8, Quadratic(normals(d, seed=5), 0.3)
    mu = positive(domain.sample(normals(6, d)), domain, 0.4)

    def s(x: torch.Tensor) -> torch.Tensor:
        return (domain.score(x[None]) - domain.tangent(x[None], f(x[None], Need.GRAD).grad))[0]

    scores = torch.stack([s(x) for x in mu.points])
    m = mu.mass / mu.total
    U = torch.stack(
        [torch.stack([kernel_by_autograd(x, y, s, length, isinstance(domain, Sphere)) for y in mu.points]) for x in mu.points]
    )
    u = operator(mu, length)
    ones = torch.ones(6, dtype=torch.int64)
    for i in range(6):
        pairs = u.pairs(mu.points[ones * i], scores[ones * i], mu.points, scores)
        torch.testing.assert_close(pairs, U[i], rtol=1e-9, atol=1e-9)
    M = m[:, None] * m * (1 - torch.eye(6, dtype=torch.float64))
    system = System({"nu": mu})
    got = KernelStein(length=length).measure(system, view(f))
    assert float(got["kernel-stein"]) == pytest.approx(float((M * U).sum() / M.sum()), abs=1e-9)


def exact_samples(where: str, n: int, seed: int) -> tuple[Particles, Potential]:
    """Independent samples of exp(-f) dtau on each of the spaces, and f."""
    domain, d = STEIN[where]
    g = normals(n, d, seed=seed)
    if where == "flat":
        return positive(g / math.sqrt(2.0), domain), Quadratic(vector(0, 0, 0), 2.0)
    if where == "gaussian":  # precision 1/v + k = 4, mean -a / 4
        return positive(g / 2 - vector(0.5, -0.25), domain), Quadratic(vector(2, -1), 2.0)
    f = Quadratic(3.0 * torch.eye(d, dtype=torch.float64)[0])
    rng = np.random.default_rng(seed)
    kept = torch.empty(0, d, dtype=torch.float64)
    while len(kept) < n:
        x = Sphere().sample(torch.from_numpy(rng.standard_normal((20 * n, d))))
        kept = torch.cat([kept, x[torch.from_numpy(np.log(rng.random(20 * n))) < -f(x, Need.VALUE).value - 3.0]])
    return positive(kept[:n], domain), f


@pytest.mark.parametrize("where", list(STEIN))
def test_stein_discrepancy_is_near_zero_for_exact_samples_and_positive_for_others(where: str) -> None:
    mu, f = exact_samples(where, 1000, 0)
    right = KernelStein().measure(System({"nu": mu}), view(f))
    assert abs(float(right["kernel-stein"])) < FOUR * float(right["kernel-stein.error"])
    domain, d = STEIN[where]
    wrong = KernelStein().measure(System({"nu": positive(domain.sample(normals(1000, d, seed=8)), domain)}), view(f))
    assert float(wrong["kernel-stein"]) > 5 * float(wrong["kernel-stein.error"])


@pytest.mark.parametrize("where", ["flat", "sphere"])
def test_stein_error_bars_are_those_of_repetition(where: str) -> None:
    """Standard deviation over 60 exact sets against the mean error bar: 1 within 4 / sqrt(120), and heavy upper tails' 20%."""
    runs = []
    for seed in range(60):
        mu, f = exact_samples(where, 150, 100 + seed)
        runs.append(KernelStein().measure(System({"nu": mu}), view(f)))
    values, bars = (np.array([float(r[name]) for r in runs]) for name in ("kernel-stein", "kernel-stein.error"))
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(60)
    assert abs(math.log(values.std() / bars.mean())) < 4 / math.sqrt(120) + 0.2


def test_stein_thins_large_measures_and_refuses_unknown_domains() -> None:
    mu, f = exact_samples("flat", 500, 3)
    few = KernelStein(at_most=100).measure(System({"nu": mu}), view(f))
    assert abs(float(few["kernel-stein"])) < FOUR * float(few["kernel-stein.error"])
    again = KernelStein(at_most=100).measure(System({"nu": mu}), view(f, seed=1))
    assert float(few["kernel-stein"]) != float(again["kernel-stein"])

    @attrs.frozen
    class Elsewhere:
        kind: str = "torus"

    with pytest.raises(MeasureflowError, match="not on torus"):
        stein(mu.replace(domain=Elsewhere()), mu.points, 1.0, Chunked())


# Maximum mean discrepancy, Sinkhorn


@pytest.mark.parametrize("kernel", [Gaussian(length=0.7), Relu(power=2)])
def test_mmd_against_the_dense_formula(kernel: Any) -> None:
    domain = Sphere()
    mu, nu = (positive(domain.sample(normals(n, 3, seed=n)), domain, 0.5) for n in (30, 40))
    got = Mmd(kernel=kernel).measure(System({"nu": mu, "data": nu}), view(Quadratic(vector(0, 0, 0))))
    m, w = mu.mass / mu.total, nu.mass / nu.total

    def inner(x: Particles, a: torch.Tensor, y: Particles, b: torch.Tensor) -> torch.Tensor:
        return a @ kernel.pair(x.points, y.points) @ b

    def apart(x: Particles, a: torch.Tensor) -> torch.Tensor:
        K = kernel.pair(x.points, x.points)
        off = a[:, None] * a * (1 - torch.eye(len(a), dtype=torch.float64))
        return (off * K).sum() / off.sum()

    cross = inner(mu, m, nu, w)
    square = inner(mu, m, mu, m) + inner(nu, w, nu, w) - 2 * cross
    assert float(got["mmd"]) == pytest.approx(float(square.sqrt()), abs=1e-9)
    assert float(got["mmd.unbiased"]) == pytest.approx(float(apart(mu, m) + apart(nu, w) - 2 * cross), abs=1e-9)


def test_mmd_of_two_samples_of_one_law_is_zero_in_the_mean_only_without_the_diagonal() -> None:
    squares, unbiased = [], []
    for seed in range(200):
        x = normals(40, 2, seed=seed)
        system = System({"nu": positive(x[:20], Euclidean()), "data": positive(x[20:], Euclidean())})
        got = Mmd(kernel=Gaussian()).measure(system, view(Quadratic(vector(0, 0))))
        squares.append(float(got["mmd"]) ** 2)
        unbiased.append(float(got["mmd.unbiased"]))
    assert abs(np.mean(unbiased)) < 4 * np.std(unbiased) / math.sqrt(200)
    # E k(x, x) - E k(x, y) = 1 - 1/3 for unit length in two dimensions, over 20 atoms, twice
    assert np.mean(squares) == pytest.approx(2 * (1 - 1 / 3) / 20, abs=4 * np.std(squares) / math.sqrt(200))


def test_sinkhorn_of_a_translated_cloud() -> None:
    """The debiased divergence of a measure and its translate by t is |t|^2 / 2 at any blur: all else is the same in each term."""
    pytest.importorskip("geomloss", reason="geomloss is not installed: pip install measureflow[sinkhorn]")
    x, t = normals(40, 3), vector(0.3, -0.2, 0.5)
    system = System({"nu": positive(x, Euclidean()), "data": positive(x + t, Euclidean())})
    for blur in (0.1, 1.0):
        got = Sinkhorn(blur=blur, scaling=0.9).measure(system, view(Quadratic(t)))
        assert float(got["sinkhorn"]) == pytest.approx(0.5 * float(t.square().sum()), rel=1e-3)
    points = System({"nu": positive(x[:1], Euclidean()), "data": positive(x[1:2], Euclidean())})
    one = Sinkhorn(p=1).measure(points, view(Quadratic(t)))
    assert float(one["sinkhorn"]) == pytest.approx(float((x[0] - x[1]).norm()), rel=1e-4)


def test_sinkhorn_without_geomloss_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "geomloss", None)
    mu = positive(normals(4, 2), Euclidean())
    with pytest.raises(MeasureflowError, match=r'pip install "measureflow\[sinkhorn\]"'):
        Sinkhorn().measure(System({"nu": mu, "data": mu}), view(Quadratic(vector(0, 0))))


@pytest.mark.parametrize(("metric", "fields"), [(Mmd, {"kernel": Gaussian()}), (Sinkhorn, {})])
def test_two_measures_are_needed(metric: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="names two measures"):
        metric(between=("nu",), **fields)


# Duality gap


def frozen(d: int, n: int = 40, m: int = 12) -> tuple[System, View]:
    """Random data, walkers and neurons on S^(d-1)."""
    domain = Sphere()
    gamma = Particles.uniform(domain.sample(normals(m, d, seed=1)), domain, 3.0)
    gamma = gamma.replace(
        sign=torch.where(torch.arange(m) % 2 == 0, 1.0, -1.0).double(), log_mass=gamma.log_mass + 0.3 * normals(m)
    )
    data = positive(domain.sample(normals(n, d, seed=2)), domain)
    nu = positive(domain.sample(normals(n, d, seed=4)), domain)
    return System({"data": data, "nu": nu, "gamma": gamma}), View(DualEbm(feature=Relu()), Chunked(), Keyed(3), None)


def test_gap_of_frozen_particles_on_the_circle_is_primal_plus_dual() -> None:
    """P = mean f over the data + log Z and D = KL(nu | tau) + R max |F|, in numpy on other nodes, nu = Gibbs(gamma)."""
    system, through = frozen(2)
    R = 5.0
    theta, a, x = system["gamma"].points.numpy(), system["gamma"].mass.numpy(), system["data"].points.numpy()
    angle = 2 * np.pi * np.arange(20_011) / 20_011
    z = np.stack([np.cos(angle), np.sin(angle)], 1)
    f, f_data = np.maximum(z @ theta.T, 0) @ a, np.maximum(x @ theta.T, 0) @ a
    log_z = np.log(np.mean(np.exp(-f)))
    p = np.exp(-f - log_z) / len(f)
    kl = p @ (-f - log_z)
    grid = 2 * np.pi * np.arange(1000) / 1000
    for _ in range(3):  # zoom on the largest |F|: spacing 6e-3, then 3e-5, 2e-7
        candidate = np.stack([np.cos(grid), np.sin(grid)], 1)
        F = np.concatenate([p @ np.maximum(z @ c.T, 0) - np.maximum(x @ c.T, 0).mean(0) for c in np.split(candidate, 40)])
        best, width = grid[np.abs(F).argmax()], grid[1] - grid[0]
        grid = best + np.linspace(-width, width, 400)
    gap = f_data.mean() + log_z + kl + R * np.abs(F).max()
    got = Gap(radius=R, gibbs=Rule(nodes=20_000), coordinates=2).measure(system, through)
    assert float(got["gap"]) == pytest.approx(gap, abs=1e-6)  # kinks: nodes^-2 = 3e-9 times the curvature
    assert float(got["gap.error"]) < 1e-6
    assert float(got["gap.F"]) == pytest.approx(float(F[np.abs(F).argmax()]), abs=1e-6)
    where = math.atan2(float(got["gap.next.1"]), float(got["gap.next.0"]))
    assert math.cos(where - best) == pytest.approx(1, abs=1e-4)


def test_gap_by_sampling_agrees_with_quadrature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between "gap.low" and "gap", within 4 error bars of either (half the samples: times sqrt 2), for three seeds."""
    system, through = frozen(3)
    exact = Gap(radius=5.0).measure(system, through)
    assert float(exact["gap.low"]) == float(exact["gap"])
    monkeypatch.setattr(gibbs_module, "has_quadrature", lambda domain, d: False)
    for seed in range(3):
        seen = attrs.evolve(through, noise=Keyed(seed))
        got = Gap(radius=5.0, gibbs=Rule(chains=2000, temperatures=20)).measure(system, seen)
        error = float(got["gap.error"])
        assert error < 0.1
        assert float(got["gap.low"]) - 4 * error < float(exact["gap"]) < float(got["gap"]) + 4 * error
        assert abs(float(got["gap"]) - float(got["gap.low"])) < 4 * error * math.sqrt(2)
        assert float(got["gap.residual"]) == pytest.approx(float(exact["gap.residual"]))


def test_gap_of_an_optimum_is_bracketed_by_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Student = teacher and many data: the gap is near 0, "gap" above it and "gap.low" below, in the mean of 8 seeds."""
    system, through = planted("sphere-146", n=5000)
    exact = float(Gap(radius=10.0, gibbs=Rule(nodes=200), at_most=50).measure(system, through)["gap"])
    monkeypatch.setattr(gibbs_module, "has_quadrature", lambda domain, d: False)
    metric = Gap(radius=10.0, gibbs=Rule(chains=200, temperatures=30), at_most=50, starts=64, climbers=8, ascent=20)
    runs = [metric.measure(system, attrs.evolve(through, noise=Keyed(seed))) for seed in range(8)]
    low, high = ([float(r[name]) for r in runs] for name in ("gap.low", "gap"))
    error = float(np.mean([float(r["gap.error"]) for r in runs])) / math.sqrt(8)
    assert np.mean(low) - 4 * error < exact < np.mean(high) + 4 * error
    assert np.mean(low) < np.mean(high)


def test_gap_residual_tells_walkers_at_the_data_from_walkers_at_gibbs() -> None:
    """The student is the teacher: a gap near 0 either way, and a residual that sees whether the walkers are of its law."""
    n = 1000
    system, through = planted("sphere-146", n=n)
    R = 10.0
    at_law = Gap(radius=R, gibbs=Rule(nodes=200)).measure(system, through)
    uniform = system.replace({"nu": positive(Sphere().sample(normals(n, 3)), Sphere())})
    away = Gap(radius=R, gibbs=Rule(nodes=200)).measure(uniform, through)
    assert float(at_law["gap"]) == pytest.approx(float(away["gap"]), rel=1e-6)
    assert 0 < float(at_law["gap"]) < R * 4 / math.sqrt(n)  # R sup |F|: the noise of the data
    assert abs(float(at_law["gap.residual"])) < 0.01 * float(away["gap.residual"])


def test_highest_climbs_to_the_norm_of_a_linear_potential_and_to_a_kink() -> None:
    a = vector(0.3, -2.0, 0.6)
    theta, value = highest(Quadratic(a), Sphere().sample(normals(5, 3)), Sphere(), 3, 60)
    assert abs(float(value)) == pytest.approx(float(a.norm()), abs=1e-9)
    torch.testing.assert_close(theta[0] * value.sign(), a / a.norm(), atol=1e-4, rtol=0)

    class Tent(Potential):
        def __call__(self, at: torch.Tensor, need: Need) -> Field:
            value = torch.exp(-at[:, 0].abs())
            return Field(value, torch.stack([-at[:, 0].sign() * value, 0 * value], 1))

    _, top = highest(Tent(), normals(4, 2), Euclidean(), 4, 80)
    assert float(top) == pytest.approx(1.0, abs=1e-6)


# As configured


def test_a_config_sets_the_rule_of_integration(registry: Registry) -> None:
    tables: dict[str, Any] = {
        "name": "rule",
        "steps": 1,
        "step": 0.01,
        "dtype": "float64",
        "data": {"kind": "teacher", "neurons": "sphere-146", "weights": [-3.0, -3.0], "train": 50, "test": 50},
        "measures": {"nu": {"init": "data", "flows": ["langevin"]}, "gamma": {"init": {"kind": "uniform", "size": 4}}},
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
        "metrics": [{"kind": "nll", "gibbs": {"nodes": 10}}],
    }
    made = build(from_tables(tables, registry), registry)
    rough = measured(made.system, made.view, [probe.metric for probe in from_tables(tables, registry).metrics])
    fine = measured(made.system, made.view, [Nll()])
    assert rough["nll"] != fine["nll"]
    assert rough["nll"] == pytest.approx(fine["nll"], abs=4 * rough["nll.error"] + 0.01)


def test_a_gaussian_polynomial_of_degree_zero_is_the_gaussian() -> None:
    phi: Any = GaussianPolynomial(length=0.6)
    x = positive(normals(5, 3), Euclidean())
    torch.testing.assert_close(dense(phi, x.points, x), dense(Gaussian(length=0.6), x.points, x))


def test_half_the_teachers_energy_at_beta_2_is_the_teacher(registry: Registry) -> None:
    built = build(from_tables({**TABLES, "dtype": "float64"}, registry), registry)
    teacher = built.system["teacher"]
    half = built.system.replace({"gamma": teacher.replace(log_mass=teacher.log_mass - math.log(2))})
    here, right, there = (measured(half, built.view, [Kl(beta=beta), Score(beta=beta)]) for beta in (1.0, 2.0, 4.0))
    assert max(map(abs, right.values())) < ROUNDING
    assert min(*here.values(), *there.values()) > 0.01
