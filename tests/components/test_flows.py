"""Flows against closed forms, with tolerances from standard errors (5 of them) and the order of the scheme."""

import itertools
import math

import attrs
import pytest
import torch

from measureflow.core.domain import Domain
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.simulate import apply_flows
from measureflow.testing import Alone, Quadratic, normals, stepped
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.restart import Restart
from measureflow_plugins.flows.tv_ball import TvBall
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.flows.wfr import Wfr

FIVE = 5.0  # standard errors: one false alarm in two million


@attrs.frozen(eq=False)
class Linear(Potential):
    """V(x) = <a, x>."""

    a: torch.Tensor

    def __call__(self, at: torch.Tensor, need: Need) -> Field:
        return Field(at @ self.a if Need.VALUE in need else None, self.a.expand_as(at) if Need.GRAD in need else None)


def moved(flow: Flow, mu: Particles, potential: Potential, h: float, steps: int, data: Particles | None = None) -> Particles:
    dynamics = Dynamics(Alone(potential), {"mu": (flow,)}, 1.0, seed=1)
    system = System({"mu": marked(mu, (flow,), Keyed(1)), "data": data or mu})
    for _ in range(steps):
        system = system.replace({"mu": apply_flows(dynamics, "mu", system, h)}).tick(h)
    return system["mu"]


def at(points: torch.Tensor, domain: Domain) -> Particles:
    return Particles.uniform(points, domain)


def test_ornstein_uhlenbeck_mean_and_variance() -> None:
    """V = k x^2/2 with T: from x0, mean x0 e^{-kt}, variance (T/k)(1 - e^{-2kt}); Euler's own recursion is exact."""
    k, T, h, steps, n = 2.0, 0.7, 0.01, 100, 40_000
    mu = moved(
        Langevin(temperature=T), at(torch.full((n, 1), 1.5, dtype=torch.float64), Euclidean()),
        Quadratic(k * torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)), h, steps,
    )  # fmt: skip
    q = 1 - k * h
    mean, variance = 1.5 * q**steps, 2 * T * h * (1 - q ** (2 * steps)) / (1 - q**2)
    assert abs(float(mu.points.mean()) - mean) < FIVE * math.sqrt(variance / n)
    assert abs(float(mu.points.var()) - variance) < FIVE * variance * math.sqrt(2 / n)
    assert abs(mean - 1.5 * math.exp(-k)) < k * k * h  # and that is the continuous flow up to O(h)


def test_gaussian_base_measure_enters_as_its_score() -> None:
    """V = 0 on N(0, 2 I): stationary variance 2, Euler's is 2 T h / (1 - (1 - T h / 2)^2)."""
    n, h, T = 40_000, 0.1, 1.0
    domain = Euclidean(base="gaussian", variance=2.0)
    start = domain.sample(normals(n, 1))
    mu = moved(Langevin(temperature=T), at(start, domain), Linear(torch.zeros(1, dtype=torch.float64)), h, 60)
    q = 1 - T * h / 2
    variance = 2 * q**120 + 2 * T * h * (1 - q**120) / (1 - q**2)
    assert abs(float(mu.points.var()) - variance) < FIVE * variance * math.sqrt(2 / n)


@pytest.mark.parametrize("method", ["euler", "geodesic"])
def test_von_mises_fisher_mean_on_the_sphere(method: str) -> None:
    """exp(-<a, x>) on S^2 has mean -(coth k - 1/k) a/k, k = |a|; bias of the step O(h)."""
    a = torch.tensor([0.0, 1.2, -1.6], dtype=torch.float64)
    n, h, k = 20_000, 0.01, 2.0
    mu = moved(Langevin(method=method), at(Sphere().sample(normals(n, 3)), Sphere()), Linear(a), h, 400)
    mean = -(1 / math.tanh(k) - 1 / k) * a / k
    error = float((mu.points.mean(0) - mean).norm())
    assert error < FIVE * math.sqrt(1 / n) + h  # |mean| changes by O(h) with a constant below 1 in d = 3
    assert error < 0.25 * float(mean.norm())


@pytest.mark.parametrize("d", [3, 8])
def test_heat_flow_first_harmonic(d: int) -> None:
    """Brownian motion on S^{d-1}: E<x_t, x_0> = exp(-(d-1) t), x_t by the exponential map with tangent Gaussian steps."""
    n, h, steps = 40_000, 0.005, 40
    start = torch.zeros(n, d, dtype=torch.float64)
    start[:, 0] = 1
    mu = moved(Langevin(method="geodesic"), at(start, Sphere()), Linear(torch.zeros(d, dtype=torch.float64)), h, steps)
    t = h * steps
    # one step multiplies the harmonic by E cos(|v|) = 1 - (d-1) h + O(((d-1) h)^2): weak order one
    assert abs(float(mu.points[:, 0].mean()) - math.exp(-(d - 1) * t)) < FIVE / math.sqrt(n) + ((d - 1) * h) ** 2 * steps / 2


def test_fisher_rao_mass_ratio_is_exact_for_a_fixed_potential() -> None:
    """w_i(t)/w_j(t) = exp(-t (V_i - V_j)), whatever h; conserve keeps the mass too."""
    points = normals(20, 2)
    mu, V = at(points, Euclidean()), Quadratic(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    value = V(points, Need.VALUE).value
    for conserve in (False, True):
        log = moved(FisherRao(rate=3.0, conserve=conserve), mu, V, 0.1, 10).log_mass
        torch.testing.assert_close(log - log[0], -3.0 * (value - value[0]), rtol=0, atol=1e-12)
        if conserve:
            assert float(log.exp().sum()) == pytest.approx(1.0, abs=1e-12)


def test_negative_mass_climbs_and_shrinks_where_positive_mass_descends_and_grows() -> None:
    points = normals(2, 2)[:1].repeat(2, 1)
    mu = Particles(points, torch.tensor([1.0, -1.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64), Euclidean())
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    after = stepped(Wfr(rate=2.0), mu, 0.1, Linear(a))
    torch.testing.assert_close(after.points - points, torch.tensor([[-0.2, 0.0], [0.2, 0.0]], dtype=torch.float64))
    shift = 0.2 * float(points[0, 0])
    torch.testing.assert_close(after.log_mass, torch.tensor([-shift, shift], dtype=torch.float64))


def test_wfr_moves_both_from_the_old_points() -> None:
    """Transport and reaction apart must agree with wfr only if the reaction comes first (it does not move points)."""
    mu, V = at(normals(9, 3), Euclidean()), Linear(normals(3, seed=1))
    both = stepped(Wfr(rate=2.0, transport=0.5, reaction=0.25), mu, 0.1, V)
    apart = stepped(Wasserstein(rate=1.0), stepped(FisherRao(rate=0.5), mu, 0.1, V), 0.1, V)
    torch.testing.assert_close(both.points, apart.points)
    torch.testing.assert_close(both.log_mass, apart.log_mass)


@pytest.mark.parametrize("flow", [Wasserstein(), Wasserstein(method="geodesic"), Wfr(), FisherRao(conserve=True)])
def test_small_steps_dissipate_the_potential(flow: Flow) -> None:
    mu = at(Sphere().sample(normals(50, 3)), Sphere())
    V = Quadratic(torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)), normals(3, seed=1))

    def energy(nu: Particles) -> float:
        return float((nu.mass * (V(nu.points, Need.VALUE).value + 10)).sum())  # + 10: wfr may change the mass; V + 10 > 0

    shifted = Quadratic(V.A, V.b) if not isinstance(flow, Wfr) else V
    values = [energy(mu)]
    for _ in range(20):
        mu = stepped(flow, mu, 0.01, shifted)
        values.append(energy(mu))
    assert all(after < before for before, after in itertools.pairwise(values))


def test_tv_projection_scales_onto_the_ball_and_leaves_its_inside_alone() -> None:
    mu = at(normals(10, 2), Euclidean()).replace(log_mass=normals(10, seed=1))
    tv = float(mu.log_mass.exp().sum())
    onto = stepped(TvBall(radius=tv / 3), mu, 0.1)
    assert float(onto.log_mass.exp().sum()) == pytest.approx(tv / 3)
    torch.testing.assert_close(onto.log_mass - onto.log_mass[0], mu.log_mass - mu.log_mass[0])
    assert torch.equal(stepped(TvBall(radius=2 * tv), mu, 0.1).log_mass, mu.log_mass)


def test_tv_multiplier_stops_growth_at_the_bound_and_lets_mass_shrink() -> None:
    """K = max(growth, 0)/TV at the bound: TV changes by O(h^2) per step where it would grow, and falls where it would fall."""
    mu = at(normals(10, 2), Euclidean())
    for sign in (1.0, -1.0):  # V > 0 shrinks positive mass, V < 0 grows it
        V = Linear(torch.tensor([0.0, 0.0], dtype=torch.float64))
        V = Shifted(V, sign)
        changes = []
        for h in (0.02, 0.01):
            after = stepped(TvBall(radius=1.0, method="multiplier"), stepped(FisherRao(), mu, h, V), h, V)
            changes.append(float(after.log_mass.exp().sum()) - 1)
        if sign > 0:
            assert changes[0] == pytest.approx(math.exp(-0.02) - 1)
        else:
            assert all(abs(change) < h * h for change, h in zip(changes, (0.02, 0.01), strict=True))


@attrs.frozen(eq=False)
class Shifted(Potential):
    inner: Potential
    shift: float

    def __call__(self, at: torch.Tensor, need: Need) -> Field:
        field = self.inner(at, need)
        return Field(None if field.maybe_value is None else field.value + self.shift, field.maybe_grad)


def test_restart_follows_the_geometric_law() -> None:
    """Restart alone: the fraction never restarted is (1-p)^k = exp(-a t) for p = 1 - exp(-a h)."""
    a, h, steps, n = 1.5, 0.05, 20, 20_000
    away = at(torch.full((n, 1), 5.0, dtype=torch.float64), Euclidean())
    data = at(torch.zeros(100, 1, dtype=torch.float64), Euclidean())
    zero = Linear(torch.zeros(1, dtype=torch.float64))
    mu = moved(Restart(probability=1 - math.exp(-a * h)), away, zero, h, steps, data)
    share = float((mu.points == 5.0).double().mean())
    expected = math.exp(-a * h * steps)
    assert abs(share - expected) < FIVE * math.sqrt(expected * (1 - expected) / n)


def test_restart_own_returns_each_copy_and_every_waits_for_its_turn() -> None:
    data = at(normals(6, 2), Euclidean())
    mu = at(normals(12, 2, seed=3), Euclidean())
    own = stepped(Restart(probability=1.0, to="own"), mu, 0.1, data=data)
    assert torch.equal(own.points, data.points.repeat(2, 1))
    zero = Linear(torch.zeros(2, dtype=torch.float64))
    flow = Restart(every=3, to="own")
    walked = moved(flow, mu, zero, 0.1, 1, data)  # step 0 is a multiple of 3
    assert torch.equal(walked.points, own.points)
    dynamics = Dynamics(Alone(zero), {"mu": (flow,)}, 1.0, seed=1)
    later = System({"mu": mu, "data": data}, step=2)
    assert torch.equal(apply_flows(dynamics, "mu", later, 0.1).points, mu.points)


def test_random_restarts_are_uniform_over_the_data() -> None:
    n, k = 50_000, 10
    data = at(torch.arange(k, dtype=torch.float64)[:, None], Euclidean())
    mu = stepped(Restart(probability=1.0), at(torch.full((n, 1), -1.0, dtype=torch.float64), Euclidean()), 0.1, data=data)
    counts = torch.bincount(mu.points[:, 0].long(), minlength=k).double()
    chi2 = float(((counts - n / k) ** 2 / (n / k)).sum())
    assert chi2 < 33.7  # 1e-4 quantile of chi^2 with 9 degrees of freedom
