"""Score matching in its four guises (direct, restarts, denoising, closed form), contrastive divergence, schedules, minibatches."""

import copy
import math
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from small import TABLES, Shell

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.core.schedule import Schedule
from measureflow.dynamics.coupling import Coupling
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import advance, apply_flows
from measureflow.errors import ConfigError, MeasureflowError
from measureflow.observe.source import Setting, World
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import measure, normals, stepped
from measureflow_plugins.couplings.denoising import Denoising
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.couplings.score_matching import ScoreMatching
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.laplacian import laplacian
from measureflow_plugins.features.mlp import Mlp
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.features.relu_affine import ReluAffine
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.repeat import Repeat
from measureflow_plugins.flows.restart import Restart
from measureflow_plugins.flows.tv_ball import TvBall
from measureflow_plugins.flows.wfr import Wfr
from measureflow_plugins.inits.kernel_exponential_family import KernelExponentialFamily, equations
from measureflow_plugins.schedules.cosine import CosineSchedule
from measureflow_plugins.schedules.exponential import ExponentialSchedule
from measureflow_plugins.schedules.linear import LinearSchedule
from measureflow_plugins.schedules.piecewise import PiecewiseSchedule
from measureflow_plugins.schemes.minibatch import Minibatch
from measureflow_plugins.schemes.sequential import Sequential

FIVE = 5.0  # standard errors
EXACT = {"rtol": 0.0, "atol": 1e-10}
SPHERE, PLANE = Space(Sphere(), 4), Space(Euclidean(base="gaussian", variance=1.5), 3)


# Schedules


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (LinearSchedule(1.0, 0.0, 100, 10), {0: 1.0, 10: 1.0, 35: 0.75, 110: 0.0, 1000: 0.0}),
        (ExponentialSchedule(1.0, 1e-4, 100), {0: 1.0, 25: 0.1, 50: 1e-2, 100: 1e-4, 200: 1e-4}),
        (CosineSchedule(1.0, 0.0, 90), {0: 1.0, 30: 0.75, 45: 0.5, 60: 0.25, 90: 0.0, 91: 0.0}),
        (PiecewiseSchedule((1.0, 0.5, 0.0), (10, 20)), {0: 1.0, 9: 1.0, 10: 0.5, 19: 0.5, 20: 0.0, 1000: 0.0}),
    ],
)
def test_schedules_take_their_values(schedule: Schedule, values: dict[int, float]) -> None:
    assert {step: schedule(step) for step in values} == pytest.approx(values, abs=1e-14)
    assert schedule.range == (min(values.values()), max(values.values()))


def test_a_schedule_never_leaves_its_range_by_rounding() -> None:
    for kind in (LinearSchedule, ExponentialSchedule, CosineSchedule):
        schedule = kind(0.1, 0.3, 77, 3)
        assert all(0.1 <= schedule(step) <= 0.3 for step in range(100))


RESTART = "measures.nu.flows.0"


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (RESTART, {"kind": "restart", "probability": {"kind": "linear", "start": 1.5, "end": 0.0, "steps": 9}}, "at most 1"),
        (RESTART, {"kind": "restart", "rate": 2.0, "probability": 0.1}, "probability and rate"),
        (RESTART, {"kind": "restart", "rate": 2.0, "every": 3}, "rate and every"),
        (RESTART, {"kind": "restart", "probability": 0.1, "every": 3}, "probability and every"),
        (RESTART, {"kind": "restart", "rate": {"kind": "piecewise", "values": [1.0], "steps": [3]}}, "1 steps part 2 values"),
        (RESTART, {"kind": "restart", "rate": {"kind": "piecewise", "values": [1.0, 2.0], "steps": [0]}}, "steps must grow"),
        (RESTART, {"kind": "restart", "rate": {"kind": "exponential", "start": 1.0, "end": 0.0, "steps": 3}}, "above 0"),
        (RESTART, {"kind": "restart", "rate": {"kind": "linera", "start": 1.0, "end": 0.0, "steps": 3}}, "did you mean 'linear'"),
        (RESTART, {"kind": "repeat", "times": 0, "flow": "langevin"}, "at least 1"),
        ("order", {"kind": "minibatch", "batch": 5, "of": "nu"}, "'nu' moves"),
        ("coupling", {"kind": "denoising", "feature": "gaussian", "noise": 0.1, "copies": 3}, "comes in pairs"),
    ],
)
def test_bad_settings_are_refused_by_name(registry: Registry, path: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        from_tables(changed(TABLES, {path: value}), registry)


def changed(tables: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `tables` with the values at dotted paths changed."""
    raw = copy.deepcopy(tables)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = raw
        for key in parents:
            node = node[int(key) if isinstance(node, list) else key]
        node[int(last) if isinstance(node, list) else last] = value
    return raw


# Restarts


def walked(
    flows: tuple[Flow, ...], mu: Particles, coupling: Coupling, others: dict[str, Particles], h: float, steps: int
) -> Particles:
    """`mu`, named nu, after some steps of its own flows, everything else standing still."""
    dynamics = Dynamics(coupling, {"nu": flows}, 1.0, seed=1)
    system = System({"nu": marked(mu, flows, Keyed(1)), **others})
    for _ in range(steps):
        system = system.replace({"nu": apply_flows(dynamics, "nu", system, h)}).tick(h)
    return system["nu"]


def still(space: Space) -> tuple[Coupling, Particles]:
    """A game in which nu feels nothing: no neuron has mass worth mentioning."""
    gamma = measure(space, 1).replace(log_mass=torch.full((1,), -100.0, dtype=torch.float64))
    return DualEbm(Gaussian()), gamma


@pytest.mark.parametrize(("h", "steps"), [(0.1, 10), (0.01, 100)])
def test_restart_at_a_rate_follows_the_exponential_law(h: float, steps: int) -> None:
    """With p_R = min(h a, 1), (1 - h a)^(t/h) = exp(-a t) (1 + O(h)) are never restarted by time t."""
    a, n = 1.5, 20_000
    coupling, gamma = still(PLANE)
    data = Particles.uniform(torch.zeros(9, 3, dtype=torch.float64), PLANE.domain)
    away = Particles.uniform(torch.ones(n, 3, dtype=torch.float64), PLANE.domain)
    nu = walked((Restart(rate=a),), away, coupling, {"data": data, "gamma": gamma}, h, steps)
    share, expected = float((nu.points[:, 0] == 1).double().mean()), (1 - h * a) ** steps
    assert abs(share - expected) < FIVE * math.sqrt(expected * (1 - expected) / n)
    assert abs(expected - math.exp(-a)) < math.exp(-a) * a * a * h  # second-order term of the logarithm: a^2 h / 2, doubled


def test_a_rate_beyond_one_over_h_restarts_everyone() -> None:
    data = measure(PLANE, 7, seed=5)
    moved = stepped(Restart(rate=50.0, to="own"), measure(PLANE, 14), 0.1, data=data)
    assert torch.equal(moved.points, data.points.repeat(2, 1))


def test_an_annealed_probability_counts_the_steps() -> None:
    data, away = Particles.uniform(torch.zeros(9, 3, dtype=torch.float64), PLANE.domain), measure(PLANE, 5000)
    coupling, gamma = still(PLANE)
    flow = Restart(probability=PiecewiseSchedule((0.0, 0.5, 0.0), (3, 4)))
    for steps, expected in ((3, 1.0), (4, 0.5), (9, 0.5)):
        nu = walked((flow,), away, coupling, {"data": data, "gamma": gamma}, 0.1, steps)
        share = float((nu.points[:, 0] != 0).double().mean())
        assert abs(share - expected) <= FIVE * math.sqrt(expected * (1 - expected) / away.size)


# Laplacians and first variations


def laplacian_by_torch(phi: Feature, x: torch.Tensor, y: torch.Tensor, sphere: bool) -> torch.Tensor:
    """Trace of the Hessian of phi(., y); on the sphere of its extension that is constant along rays."""

    def value(point: torch.Tensor) -> torch.Tensor:
        return phi.pair((point / point.norm() if sphere else point)[None], y[None])[0, 0]

    return torch.autograd.functional.hessian(value, x).trace()


@pytest.mark.parametrize(
    ("phi", "space"),
    [
        (Relu(power=2), SPHERE),
        (Relu(power=3), SPHERE),
        (Gaussian(length=0.8), SPHERE),
        (Gaussian(length=0.8), PLANE),
        (Mlp(widths=(3, 2)), SPHERE),
        (Mlp(widths=(3,)), PLANE),
    ],
)
def test_laplacian_of_a_feature_against_torch(phi: Feature, space: Space) -> None:
    x, y = measure(space, 6).points, measure(phi.parameter_space(space), 5, seed=3).points
    wanted = [[laplacian_by_torch(phi, a, b, isinstance(space.domain, Sphere)) for b in y] for a in x]
    got = laplacian(phi, space).pair(x, y).detach()
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), **EXACT)


def test_a_network_of_relus_has_no_laplacian() -> None:
    phi = Mlp(widths=(3,), activation="relu")
    with pytest.raises(MeasureflowError, match="no second derivative"):
        laplacian(phi, PLANE).pair(measure(PLANE, 3).points, measure(phi.parameter_space(PLANE), 2).points)


def test_relu_squared_moves_weights_by_the_first_variation() -> None:
    """The contract tests hold ReLU^3 and Gaussians against finite differences; ReLU^2 has a value and no gradient."""
    coupling = ScoreMatching(Relu(power=2), beta=0.7)
    system = System({"gamma": measure(SPHERE, 9, signed=True), "data": measure(SPHERE, 20, seed=4)})
    gamma, eta, e = system["gamma"], normals(9, seed=8), 1e-5
    V = coupling.bind("gamma", system, Chunked())(gamma.points, Need.VALUE).value
    ends = [
        coupling.value(system.replace({"gamma": gamma.replace(log_mass=gamma.log_mass + s * e * eta)}), Chunked()) for s in (1, -1)
    ]
    assert float((gamma.mass * V * eta).sum()) == pytest.approx(float(ends[0] - ends[1]) / (2 * e), abs=1e-7)
    with pytest.raises(MeasureflowError, match="jumps"):
        coupling.bind("gamma", system, Chunked())(gamma.points, Need.BOTH)


def matching(feature: Any, flow: Any, **data: Any) -> dict[str, Any]:
    """The tables of a small score matching experiment."""
    gamma = {"init": {"kind": "uniform", "size": 8, "signs": "balanced"}, "flows": [flow, {"kind": "tv-ball", "radius": 5.0}]}
    return changed(TABLES, {"coupling": {"kind": "score-matching", "feature": feature}, "measures": {"gamma": gamma}, **data})


@pytest.mark.parametrize(
    "flow", [{"kind": "wfr"}, {"kind": "fisher-rao"}, {"kind": "wasserstein"}, {"kind": "wfr", "transport": 0.0}]
)
@pytest.mark.parametrize("power", [1, 2, 3])
def test_score_matching_refuses_what_it_cannot_differentiate(registry: Registry, power: int, flow: dict[str, Any]) -> None:
    tables = matching({"kind": "relu", "power": power}, flow)
    moves = flow["kind"] != "fisher-rao" and "transport" not in flow
    if power >= 3 or (power == 2 and not moves):
        built = build(from_tables(tables, registry), registry)
        advance(built.dynamics, built.system)
        return
    with pytest.raises(ConfigError) as refused:
        from_tables(tables, registry)
    assert len(refused.value.problems) == 1
    assert "restart" in refused.value.problems[0]
    assert ("coupling.feature (relu)" if power == 1 else f"measures.gamma.flows.0 ({flow['kind']})") in refused.value.problems[0]


@pytest.mark.parametrize(
    ("coupling", "says"),
    [
        ({"kind": "score-matching", "feature": {"kind": "relu-affine", "power": 3}}, "no Laplacian in closed form"),
        ({"kind": "denoising", "feature": "gaussian", "noise": 0.1}, "must be euclidean, not sphere"),
    ],
)
def test_a_coupling_that_does_not_fit_the_data_is_refused(shell: Shell, coupling: dict[str, Any], says: str) -> None:
    said = shell("check", shell.write({"measures.nu": None, "coupling": coupling}))
    assert said.code == 2
    assert says in said.err


def test_denoising_against_autograd() -> None:
    """The loss written out with torch's own gradients; its gradients in log-masses and points are mass times V and grad V."""
    s, beta, K = 0.4, 1.7, 4
    coupling = Denoising(Gaussian(length=0.9), noise=s, beta=beta, copies=K, seed=5)
    system = System({"gamma": measure(PLANE, 9, signed=True), "data": measure(PLANE, 20, seed=4)}, step=3)
    gamma, data = system["gamma"], system["data"]
    half = torch.cat([Keyed(5).at("denoising", i).normal(data) for i in range(K // 2)])
    zeta = torch.cat([half, -half])
    noisy = (data.points.repeat(K, 1) + s * zeta).requires_grad_()
    theta, log_mass = gamma.points.clone().requires_grad_(), gamma.log_mass.clone().requires_grad_()
    f = torch.exp(-(noisy[:, None] - theta).square().sum(2) / (2 * 0.9**2)) @ (gamma.sign * log_mass.exp())
    (grad,) = torch.autograd.grad(f.sum(), noisy, create_graph=True)
    residual = grad - (zeta / s - noisy.detach() / 1.5) / beta
    loss = 0.5 * (data.mass.repeat(K) / K) @ residual.square().sum(1)
    loss.backward()
    V = coupling.bind("gamma", system, Chunked())(gamma.points, Need.BOTH)
    assert theta.grad is not None
    assert log_mass.grad is not None
    torch.testing.assert_close(coupling.value(system, Chunked()), loss.detach(), **EXACT)
    torch.testing.assert_close(gamma.mass[:, None] * V.grad, theta.grad, **EXACT)
    torch.testing.assert_close(gamma.mass * V.value, log_mass.grad, **EXACT)


def test_denoising_draws_once_or_every_step_and_needs_two_derivatives_for_points() -> None:
    early = System({"gamma": measure(Space(Sphere(), 4), 5), "data": measure(PLANE, 30, seed=4)})
    late = attrs.evolve(early, step=1)
    rough = ReluAffine()
    once, fresh = Denoising(rough, noise=0.2), Denoising(rough, noise=0.2, draw="every-step")
    assert once.value(early, Chunked()) == once.value(late, Chunked())
    assert fresh.value(early, Chunked()) != fresh.value(late, Chunked())
    players = {"gamma": (FisherRao(), Wfr())}
    assert [line.partition(":")[0] for line in once.objections(players)] == ["measures.gamma.flows.1 (wfr)"]
    assert not list(Denoising(ReluAffine(power=2), noise=0.2).objections(players))
    with pytest.raises(MeasureflowError, match="raise its power to 2"):
        once.bind("gamma", early, Chunked())(early["gamma"].points, Need.GRAD)


def test_denoising_tends_to_score_matching_as_the_noise_vanishes() -> None:
    """First variations differ by O(s^2), up to the standard error over seeds."""
    system = System({"gamma": measure(PLANE, 6, signed=True), "data": measure(PLANE, 1000, seed=4)})
    at = system["gamma"].points
    direct = ScoreMatching(Gaussian()).bind("gamma", system, Chunked())(at, Need.VALUE).value
    errors, noise = [], []
    for s in (0.4, 0.2):
        draws = [Denoising(Gaussian(), noise=s, copies=40, seed=seed) for seed in range(10)]
        noisy = torch.stack([each.bind("gamma", system, Chunked())(at, Need.VALUE).value for each in draws])
        errors.append(float((noisy.mean(0) - direct).norm()))
        noise.append(float(noisy.std(0).norm()) / math.sqrt(10))
    assert errors[0] > 10 * noise[0]
    assert errors[1] < 0.25 * 1.4 * errors[0] + FIVE * noise[1]  # a quarter, and 40% for the next order, s^4


# Restarts as score matching


@attrs.frozen
class Design(Noise):
    """Instead of normals: +-sqrt(d) times the axes of a random frame of each data point, one direction for each of 2d copies.

    Mean zero, second moment the identity, third moments zero, as of a normal: a mean over the copies is the expectation up
    to the next order in h.
    """

    frames: torch.Tensor  # (n, d, d)

    def at(self, *key: str | int) -> Noise:
        return self

    def normal_rows(self, rows: range, width: int, like: torch.Tensor, draw: str) -> torch.Tensor:
        axes = torch.cat([self.frames, -self.frames], 1) * math.sqrt(width)  # (n, 2d, d)
        return axes.transpose(0, 1).reshape(-1, width)[rows.start : rows.stop].clone()

    def uniform_rows(self, rows: range, like: torch.Tensor, draw: str) -> torch.Tensor:
        raise AssertionError("restarts of everyone draw nothing")

    def index_rows(self, rows: range, high: int, like: torch.Tensor, draw: str) -> torch.Tensor:
        raise AssertionError('to = "own" draws nothing')


def design(n: int, d: int) -> Design:
    return Design(torch.linalg.qr(normals(n, d, d, seed=21)).Q)


@pytest.mark.parametrize("method", ["euler", "geodesic"])
def test_restarting_everyone_is_score_matching_to_first_order_in_h(method: Any) -> None:
    """|F/h + V| has log-log slope 1 in h for ReLU^3: F after one Langevin step from the data, V score matching's potential."""
    d, n, phi = 4, 6000, Relu(power=3)
    data, gamma = Particles.uniform(measure(SPHERE, n, seed=2).points, Sphere()), measure(SPHERE, 12, seed=6, signed=True)
    flows = (Restart(probability=1.0, to="own"), Langevin(method=method))
    nu = Particles.uniform(data.points.repeat(2 * d, 1), Sphere())
    still = {"data": data, "gamma": gamma}
    V = ScoreMatching(phi).bind("gamma", System(still), Chunked())(gamma.points, Need.BOTH)
    rows = []
    for h in (0.04, 0.02, 0.01, 0.005, 0.0025):
        dynamics, system = Dynamics(DualEbm(phi), {"nu": flows}, 1.0, noise=design(n, d)), System({"nu": nu, **still})
        walkers = apply_flows(dynamics, "nu", system, h)
        minus_f = dynamics.potential("gamma", system.replace({"nu": walkers}))(gamma.points, Need.BOTH)
        grad = Sphere().tangent(gamma.points, minus_f.grad / h - V.grad).norm() / Sphere().tangent(gamma.points, V.grad).norm()
        rows.append([h, float((minus_f.value / h - V.value).norm() / V.value.norm()), float(grad)])
    h, value, grad = np.array(rows).T
    assert 0.8 < np.polyfit(np.log(h), np.log(value), 1)[0] < 1.2
    assert value[-1] < 0.05
    assert bool((np.diff(grad) < 0).all())  # slower: the third derivative jumps, and a mean over n points smears the jump


def trained(
    coupling: Coupling, players: dict[str, tuple[Flow, ...]], system: System, h: float, time: float, noise: Noise
) -> System:
    dynamics = Dynamics(coupling, players, 1.0, noise=noise)
    for _ in range(round(time / h)):
        system = Sequential().advance(system, dynamics, h).tick(h)
    return system


def gaps(phi: Feature, n: int, time: float, steps: tuple[float, float]) -> tuple[list[float], float]:
    """How far apart the energies are that the direct flow and restarts end at, for h and h/2, and extrapolated to h = 0.

    All as shares of how far the direct flow came.

    With everyone restarted, F = -h V: neurons of rate 1/h then move by h V each step, as the direct flow's do.
    """
    space, ball = Space(Sphere(), 3), TvBall(radius=2.0)
    data = Particles.uniform(Sphere().project(normals(n, 3, seed=2) + torch.tensor([1.0, 0.5, 0.0])), Sphere())
    nu = Particles.uniform(data.points.repeat(6, 1), Sphere())
    start, at = (
        System({"nu": nu, "gamma": measure(space, 16, seed=6, signed=True), "data": data}),
        measure(space, 300, seed=9).points,
    )
    apart: list[float] = []
    differences: list[torch.Tensor] = []
    for h in steps:
        direct = trained(ScoreMatching(phi), {"gamma": (Wfr(), ball)}, start, h, time, Keyed(0))
        walkers = (Restart(probability=1.0, to="own"), Langevin())
        restarted = trained(DualEbm(phi), {"nu": walkers, "gamma": (Wfr(rate=1 / h), ball)}, start, h, time, design(n, 3))
        f, g, before = (centred(phi, system, at) for system in (direct, restarted, start))
        differences.append(g - f)
        came = float((f - before).norm())
        apart.append(float((g - f).norm()) / came)
    coarse, fine = differences
    return apart, float((2 * fine - coarse).norm()) / came


def centred(phi: Feature, system: System, at: torch.Tensor) -> torch.Tensor:
    f = Chunked().field(phi, at, system["gamma"], Need.VALUE).value
    return f - f.mean()


def test_direct_flow_and_restarts_end_at_the_same_energy() -> None:
    """The difference is O(h): half the step halves it, and extrapolated to h = 0 nothing is left."""
    apart, left = gaps(Gaussian(length=0.7), 100, 4.0, (0.04, 0.02))
    assert 1.5 < apart[0] / apart[1] < 2.5
    assert left < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("phi", "n"), [(Gaussian(length=0.7), 100), (Relu(power=3), 4000)], ids=["gaussian", "relu-3"])
def test_direct_flow_and_restarts_end_at_the_same_energy_after_long(phi: Feature, n: int) -> None:
    apart, left = gaps(phi, n, 24.0, (0.04, 0.02))
    assert 1.5 < apart[0] / apart[1] < 2.5
    assert left < 0.02


# Kernel exponential family


@pytest.mark.parametrize("space", [SPHERE, PLANE])
def test_kernel_exponential_family_solves_the_dense_system(space: Space) -> None:
    """Against numpy: the gradients of every kernel at every data point written out as (n, m, d)."""
    phi, penalty, beta, n, m, l2 = Gaussian(length=0.9), 0.01, 0.6, 120, 15, 0.81
    data = Particles.uniform(measure(space, n, seed=2).points, space.domain)
    setting = Setting(Keyed(3), torch.float64, torch.device("cpu"))
    family = KernelExponentialFamily(size=m, feature=phi, penalty=penalty, beta=beta)
    gamma = family.measure(space, World(space, {"data": data}), setting)
    x, y = data.points.numpy(), gamma.points.numpy()
    assert len({tuple(row) for row in y}) == m
    assert {tuple(row) for row in y} <= {tuple(row) for row in x}
    apart = x[:, None] - y
    k = np.exp(-(apart**2).sum(2) / (2 * l2))
    slope = -apart * k[:, :, None] / l2
    if isinstance(space.domain, Sphere):
        slope = slope - x[:, None] * (slope * x[:, None]).sum(2, keepdims=True)
        t = x @ y.T
        lap = (1 - t**2) * k / l2**2 - (space.dim - 1) * t * k / l2
    else:
        lap = k * ((apart**2).sum(2) / l2**2 - space.dim / l2) + (slope * (-x[:, None] / 1.5)).sum(2)
    G = np.einsum("njd,nkd->jk", slope, slope) / n
    c = np.linalg.solve(G + penalty * np.eye(m), lap.mean(0) / beta)
    np.testing.assert_allclose(gamma.mass.numpy(), c, rtol=0, atol=1e-9 * np.abs(c).max())


def test_kernel_exponential_family_minimises_score_matching() -> None:
    """G c - b is the potential of coupling score-matching: at the solution it is -penalty c."""
    data = Particles.uniform(measure(PLANE, 120, seed=2).points, PLANE.domain)
    family = KernelExponentialFamily(size=15, penalty=0.01)
    gamma = family.measure(PLANE, World(PLANE, {"data": data}), Setting(Keyed(3), torch.float64, torch.device("cpu")))
    V = ScoreMatching(Gaussian()).bind("gamma", System({"gamma": gamma, "data": data}), Chunked())(gamma.points, Need.VALUE).value
    torch.testing.assert_close(V, -0.01 * gamma.mass, rtol=0, atol=1e-10)


def test_kernel_exponential_family_recovers_a_gaussian() -> None:
    """N(mean, s^2) against the base N(0, v): grad f* = (x - mean)/s^2 - x/v, on fresh samples, in mean square.

    The fit has at most m = 40 degrees of freedom, so its excess is of the order m / n of the initial one: 1% at n = 4000.
    """
    v, s, n = 4.0, 1.0, 4000
    domain = Euclidean(base="gaussian", variance=v)
    space, mean = Space(domain, 2), torch.tensor([0.5, -0.3], dtype=torch.float64)
    data = Particles.uniform(normals(n, 2, seed=2) * s + mean, domain)
    setting = Setting(Keyed(3), torch.float64, torch.device("cpu"))
    family = KernelExponentialFamily(size=40, feature=Gaussian(length=2.0), penalty=1e-5)
    gamma = family.measure(space, World(space, {"data": data}), setting)
    fresh = normals(2000, 2, seed=7) * s + mean
    truth = (fresh - mean) / s**2 - fresh / v
    learned = Chunked().field(Gaussian(length=2.0), fresh, gamma, Need.GRAD).grad
    assert float((learned - truth).square().sum() / truth.square().sum()) < 0.02


def test_kernel_exponential_family_is_read_by_metrics_without_flows(registry: Registry, shell: Shell) -> None:
    kernel = {"kind": "gaussian", "length": 1.0}
    init = {"kind": "kernel-exponential-family", "size": 20, "feature": kernel}
    tables = changed(
        TABLES, {"measures": {"gamma": {"init": init}}, "coupling": {"kind": "score-matching", "feature": kernel}, "steps": 0}
    )
    built = build(from_tables({**tables, "metrics": ["kl", "score"]}, registry), registry)
    assert built.system["gamma"].size == 20
    said = shell("check", shell.write({"measures.gamma.init.size": 99}, tables))
    assert said.code == 2
    assert "99 points cannot be drawn from 50" in said.err
    said = shell("run", shell.write({"measures.gamma.init.feature": "relu"}, tables), "--out", "out")
    assert said.code == 2
    assert "measures.gamma.init.feature" in said.err


def test_the_equations_of_the_family_are_symmetric_and_positive() -> None:
    data = Particles.uniform(measure(SPHERE, 50).points, Sphere())
    G, _ = equations(Gaussian(), data, data.points[:8])
    torch.testing.assert_close(G, G.T, **EXACT)
    assert float(torch.linalg.eigvalsh(G)[0]) > 0


# Minibatches


def drawn(scheme: Scheme, system: System, seen: list[Particles]) -> System:
    """One step of `scheme` in which the potential notes the data it is bound to."""

    @attrs.frozen
    class Noting(Coupling):
        kind = "noting"
        inner = DualEbm(Relu())
        moves, reads, value, energy, spaces = inner.moves, inner.reads, inner.value, inner.energy, inner.spaces

        def bind(self, name: str, now: System, reducer: Any) -> Any:
            seen.append(now["data"])
            return self.inner.bind(name, now, reducer)

    dynamics = Dynamics(Noting(), {"nu": (Langevin(),), "gamma": (Wfr(),)}, 1.0, seed=4)
    return scheme.advance(system, dynamics, 0.1).tick(0.1)


def test_a_minibatch_is_a_fresh_unbiased_sample_without_repeats() -> None:
    data = measure(SPHERE, 40, seed=2)
    system = System({"nu": measure(SPHERE, 10), "gamma": measure(SPHERE, 6, seed=1), "data": data})
    counts, totals, repeats = torch.zeros(40), [], 0
    for _ in range(300):
        seen: list[Particles] = []
        system = drawn(Minibatch(batch=10), system, seen)
        assert system["data"] is data
        assert all(torch.equal(each.points, seen[0].points) for each in seen)
        where = (seen[0].points[:, None] == data.points).all(2).double()
        repeats += int(where.sum(0).max() > 1)
        counts += where.sum(0)
        totals.append(float(seen[0].total))
    assert repeats == 0
    assert float(((counts - 75) ** 2 / (75 * 0.75)).sum()) < 39 + FIVE * math.sqrt(2 * 39)  # hypergeometric: variance p (1 - p)
    assert abs(np.mean(totals) - float(data.total)) < FIVE * np.std(totals) / math.sqrt(300)


def test_the_whole_as_a_batch_is_the_plain_scheme() -> None:
    data = Particles.uniform(measure(SPHERE, 40, seed=2).points, Sphere())
    system = System({"nu": measure(SPHERE, 10), "gamma": measure(SPHERE, 6, seed=1), "data": data})
    seen: list[Particles] = []
    for _ in range(2):
        plain, batched = drawn(Sequential(), system, []), drawn(Minibatch(batch=40), system, seen)
        torch.testing.assert_close(batched["gamma"].points, plain["gamma"].points, **EXACT)
        torch.testing.assert_close(batched["nu"].points, plain["nu"].points, **EXACT)
    assert all(each.equal for each in seen)
    with pytest.raises(MeasureflowError, match="41 is more than the 40 atoms of 'data'"):
        drawn(Minibatch(batch=41), system, [])
    with pytest.raises(MeasureflowError, match="did you mean 'data'"):
        drawn(Minibatch(batch=4, of="dat"), system, [])


def test_objections_of_the_inner_scheme_pass_through() -> None:
    class Sulking(Scheme):
        kind = "sulking"

        def objections(self, players: Any) -> list[str]:
            return ["no"]

        def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
            raise NotImplementedError

    assert list(Minibatch(batch=1, scheme=Sulking()).objections({"nu": ()})) == ["no"]


# Contrastive divergence


def test_repeat_takes_steps_with_noise_of_their_own() -> None:
    """k repeated steps of size h are one OU recursion: mean and variance after k steps, whatever the walkers share."""
    n, k, h = 40_000, 5, 0.1
    coupling, gamma = still(PLANE)
    domain = Euclidean(base="gaussian", variance=1.0)
    start = Particles.uniform(torch.full((n, 1), 2.0, dtype=torch.float64), domain)
    nu = walked((Repeat(times=k, flow=Langevin()),), start, coupling, {"data": start, "gamma": measure(Space(domain, 1), 1).replace(
        log_mass=gamma.log_mass)}, h, 1)  # fmt: skip
    q = 1 - h
    mean, variance = 2.0 * q**k, 2 * h * (1 - q ** (2 * k)) / (1 - q**2)
    assert abs(float(nu.points.mean()) - mean) < FIVE * math.sqrt(variance / n)
    assert abs(float(nu.points.var()) - variance) < FIVE * variance * math.sqrt(2 / n)


def test_contrastive_divergence_tends_to_the_exact_gradient_as_k_grows() -> None:
    """On S^1, E[F after k steps from the data] by a transition matrix on a grid: the bias shrinks with k; the engine agrees.

    The geodesic step on the circle is angle <- angle - h f'(angle) + sqrt(2 h) zeta: a wrapped normal, exact on the grid.
    """
    h, size, phi, N = 0.02, 600, Relu(power=2), 30_000
    angle = np.arange(size) * 2 * np.pi / size
    circle = torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1))
    gamma = measure(Space(Sphere(), 2), 5, seed=3, signed=True)
    gamma = gamma.replace(log_mass=gamma.log_mass + math.log(4.0))
    field = Chunked().field(phi, circle, gamma, Need.BOTH)
    f, along = field.value.numpy(), (field.grad.numpy() * np.stack([-np.sin(angle), np.cos(angle)], 1)).sum(1)
    apart = (angle[None] - (angle - h * along)[:, None] + np.pi) % (2 * np.pi) - np.pi
    step = np.exp(-(apart**2) / (4 * h))
    step /= step.sum(1, keepdims=True)
    start = np.exp(3 * np.cos(angle - 2.0))
    start /= start.sum()
    features = phi.pair(circle, gamma.points).numpy()
    gibbs = np.exp(-f)
    exact = gibbs / gibbs.sum() @ features
    law, laws = start, {}
    for k in range(1, 301):
        law = law @ step
        laws[k] = law @ features
    bias = {k: float(np.abs(laws[k] - exact).max()) for k in (1, 10, 30, 100, 300)}
    assert sorted(bias.values(), reverse=True) == list(bias.values())
    assert bias[300] < 0.05 * bias[1]
    draws = torch.from_numpy(np.random.default_rng(0).choice(size, N, p=start))
    data = Particles.uniform(circle[draws], Sphere())
    away = Particles.uniform(circle[:1].expand(N, 2).contiguous(), Sphere())
    for k in (1, 10, 100):
        flows = (Restart(probability=1.0, to="own"), Repeat(times=k, flow=Langevin(method="geodesic")))
        nu = walked(flows, away, DualEbm(phi), {"data": data, "gamma": gamma}, h, 1)
        values = phi.pair(nu.points, gamma.points)
        error = (values.mean(0) - torch.from_numpy(laws[k])).abs()
        assert bool((error < FIVE * values.std(0) / math.sqrt(N)).all())


PCD = {
    "name": "pcd",
    "seed": 3,
    "steps": 100,
    "step": 0.02,
    "dtype": "float64",
    "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": 90},
    "measures": {
        "nu": {"init": {"kind": "data", "copies": 2}, "flows": ["langevin"]},
        "gamma": {
            "init": {"kind": "uniform", "size": 10, "signs": "balanced"},
            "flows": [{"kind": "wfr", "rate": 0.05}, {"kind": "tv-ball", "radius": 10.0}],
        },
    },
    "coupling": {"kind": "dual-ebm", "feature": "relu"},
}


@pytest.mark.parametrize("alpha", [0.05, 5.0])
def test_primal_training_is_persistent_contrastive_divergence(registry: Registry, alpha: float) -> None:
    """An autograd loop: loss = mean f(data) - mean f(chains), f = (1/m) sum_j s_j w_j relu(<theta_j, x>).

    Preconditioner: the flow's velocity carries no w_j / m, so theta_j steps by (m / w_j) times its gradient, and log w_j by m times
    the gradient in w_j. Five times alpha > 1 as well: then every step counts.
    """
    built = build(from_tables(changed(PCD, {"measures.gamma.flows.0.rate": alpha}), registry), registry)
    system, h, m = built.system, 0.02, 10
    data, X = system["data"].points, system["nu"].points
    gamma = system["gamma"]
    theta, log_w, s = gamma.points, (m * gamma.log_mass.exp()).log(), gamma.sign

    def f(x: torch.Tensor, theta: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ theta.T) @ (s * w) / m

    for t in range(100):
        chains = X.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(chains, theta, log_w.exp()).sum(), chains)
        X = X - h * slope + math.sqrt(2 * h) * Keyed(3).at("nu", t, 0).normal(system["nu"])
        X = X / X.norm(dim=1, keepdim=True)
        leaf, w = theta.clone().requires_grad_(), log_w.exp().requires_grad_()
        loss = f(data, leaf, w).mean() - f(X, leaf, w).mean()
        grad_theta, grad_w = torch.autograd.grad(loss, (leaf, w))
        grad_theta = grad_theta - theta * (theta * grad_theta).sum(1, keepdim=True)
        theta = theta - alpha * h * (m / w.detach())[:, None] * grad_theta
        theta = theta / theta.norm(dim=1, keepdim=True)
        log_w = log_w - alpha * h * m * grad_w
        log_w = log_w - torch.log((log_w.exp().mean() / 10).clamp(min=1))
        system = advance(built.dynamics, system)
        torch.testing.assert_close(system["nu"].points, X, **EXACT)
        torch.testing.assert_close(system["gamma"].points, theta, **EXACT)
        torch.testing.assert_close((m * system["gamma"].log_mass.exp()).log(), log_w, **EXACT)
