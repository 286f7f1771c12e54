"""Games of measures, the schemes that damp them, time averages, the torus, and sums of couplings."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import linprog
from small import TABLES, Shell
from torch import Tensor

from measureflow.config.build import Built, build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Domain, Space
from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Coupling, Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import marked
from measureflow.dynamics.simulate import advance, apply_flows
from measureflow.errors import ConfigError
from measureflow.observe.metric import View
from measureflow.observe.observer import measured
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import Alone, measure, normals, quadratic
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.couplings.game import TwoPlayers
from measureflow_plugins.couplings.regression import Regression
from measureflow_plugins.couplings.sum import Sum
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features._waves import drawn
from measureflow_plugins.features.bilinear import Bilinear
from measureflow_plugins.features.fourier import Fourier
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.matching import Matching
from measureflow_plugins.features.periodic import Periodic
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows.average import Average, time_average
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.metrics.nikaido_isoda import NikaidoIsoda
from measureflow_plugins.schemes.extragradient import Extragradient
from measureflow_plugins.schemes.optimistic import Optimistic

FIVE = 5.0  # standard errors: one false alarm in two million
PI = math.pi


def tables(order: str, feature: Any, flows: list[Any], domain: str = "torus", d: int = 1, **other: Any) -> dict[str, Any]:
    player = {"init": {"kind": "uniform", "size": 40}, "flows": flows}
    return {
        "name": "game",
        "steps": 400,
        "step": 0.1,
        "order": order,
        "dtype": "float64",
        "reducer": "chunked",
        "data": {"kind": "space", "domain": domain, "dim": d},
        "measures": {"mu": player, "nu": player},
        "coupling": {"kind": "game", "feature": feature},
        **other,
    }


def walked(built: Built, steps: int) -> System:
    system = built.system
    for _ in range(steps):
        system = advance(built.dynamics, system)
    return system


# --- schemes on the game E = mean(x) mean(y), whose means follow a linear recursion ---


def recursion(order: str, start: np.ndarray, h: float, steps: int) -> list[np.ndarray]:
    """(mean x, mean y) at every step: g(z) = J z with J = [[0, 1], [-1, 0]], since x descends E and y ascends it."""
    J, one = np.array([[0.0, 1.0], [-1.0, 0.0]]), np.eye(2)
    z, before, out = start, start, [start]
    for _ in range(steps):
        if order == "simultaneous":
            z = (one - h * J) @ z
        elif order == "extragradient":
            z = (one - h * J @ (one - h * J)) @ z
        else:
            z, before = z - h * J @ (2 * z - before), z
        out.append(z)
    return out


@pytest.mark.parametrize(
    ("order", "factor"),
    [
        ("simultaneous", 1 + 0.3**2),  # |1 + ih|^2
        ("extragradient", (1 - 0.3**2) ** 2 + 0.3**2),  # |1 - h^2 + ih|^2
        ("optimistic", None),
    ],
)
def test_means_of_a_bilinear_game_follow_the_exact_recursion(registry: Registry, order: str, factor: float | None) -> None:
    """Simultaneous steps spiral out, extragradient and optimistic ones spiral in, number for number."""
    h, steps = 0.3, 120
    built = build(from_tables(tables(order, "bilinear", ["wasserstein"], "euclidean", step=h), registry), registry)
    system, track = built.system, []
    for _ in range(steps + 1):
        track.append(np.array([float(system[name].points.mean()) for name in ("mu", "nu")]))
        system = advance(built.dynamics, system)
    expected = recursion(order, track[0], h, steps)
    scale = max(np.abs(expected).max(), 1.0)
    np.testing.assert_allclose(track, expected, rtol=0, atol=1e-12 * steps * scale)
    size = np.array([z @ z for z in track])
    if factor:
        np.testing.assert_allclose(size, size[0] * factor ** np.arange(steps + 1), rtol=1e-9)
    assert size[-1] > 1e3 * size[0] if order == "simultaneous" else size[-1] < 1e-3 * size[0]


@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
def test_against_a_fixed_potential_the_schemes_are_their_formulas(order: str) -> None:
    """One measure, V quadratic: points and log-masses after two steps against the formulas written out."""
    mu, V, h = measure(Space(Euclidean(), 3), 7), quadratic(3), 0.1
    scheme = Extragradient() if order == "extragradient" else Optimistic()
    dynamics = Dynamics(Alone(V), {"mu": (Wasserstein(), FisherRao(rate=2.0))}, 1.0)
    system = System({"mu": mu})
    p, log_mass = mu.points, mu.log_mass
    before = V(p, Need.BOTH)
    for _ in range(2):
        system = scheme.advance(system, dynamics, h).tick(h)
        now = V(p, Need.BOTH)
        used = V(p - h * now.grad, Need.BOTH) if order == "extragradient" else now.scale(2.0).plus(before.scale(-1.0))
        p, log_mass, before = p - h * used.grad, log_mass - 2 * h * used.value, now
    torch.testing.assert_close(system["mu"].points, p, rtol=0, atol=1e-13)
    torch.testing.assert_close(system["mu"].log_mass, log_mass, rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
def test_steps_stay_on_the_sphere_and_agree_with_plain_ones_to_second_order(registry: Registry, order: str) -> None:
    """Both differ from a simultaneous step by h^2 times a curvature: the difference falls by 4 when h is halved."""
    apart = []
    for h in (0.02, 0.01):
        ends = []
        for name in (order, "simultaneous"):
            flows = [{"kind": "wfr", "conserve": True}]
            ends.append(build(from_tables(tables(name, "bilinear", flows, "sphere", 3, step=h), registry), registry))
        there, plain = (walked(built, 2)["mu"] for built in ends)
        assert float(Sphere().distance_to(there.points).max()) < 1e-12
        apart.append(float((there.points - plain.points).norm()))
    assert 3.6 < apart[0] / apart[1] < 4.4  # 4 + O(h)


def intrinsic(order: str, mu: Particles, V: Potential, h: float) -> Tensor:
    """Points of the sphere after two steps by exponential maps, gradients carried between tangent spaces in parallel."""
    sphere, p, before = mu.domain, mu.points, torch.zeros_like(mu.points)
    for step in range(2):
        now = sphere.tangent(p, V(p, Need.GRAD).grad)
        if order == "extragradient":
            ahead = sphere.exp(p, -h * now)
            there = sphere.tangent(ahead, V(ahead, Need.GRAD).grad)
            used = sphere.transport(ahead, there, sphere.log(ahead, p))
        else:
            used = 2 * now - before if step else now
        after = sphere.exp(p, -h * used)
        before, p = sphere.transport(p, now, sphere.log(p, after)), after
    return p


@pytest.mark.parametrize("method", ["euler", "geodesic"])
@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
def test_steps_on_the_sphere_are_the_intrinsic_ones_to_third_order(order: str, method: Any) -> None:
    """V changes off the sphere as well, which its gradient along the sphere does not see."""
    mu, V = measure(Space(Sphere(), 3), 20), quadratic(3)
    scheme = Extragradient() if order == "extragradient" else Optimistic()
    dynamics, sizes, apart = Dynamics(Alone(V), {"mu": (Wasserstein(method=method),)}, 1.0), (0.04, 0.02, 0.01), []
    for h in sizes:
        system = System({"mu": mu.replace(marks=scheme.marks(mu))})
        for _ in range(2):
            system = scheme.advance(system, dynamics, h).tick(h)
        apart.append(float((system["mu"].points - intrinsic(order, mu, V, h)).norm()))
    assert np.polyfit(np.log(sizes), np.log(apart), 1)[0] > 2.8


def bowled(order: str, weight: float = 0.3) -> dict[str, Any]:
    """A matching game on the circle, and `weight` times a cosine for mu alone, which comes from a measure that stands still."""
    given = tables(order, "matching", [{"kind": "wfr", "conserve": True}])
    given["measures"] = {**given["measures"], "bowl": {"init": {"kind": "uniform", "size": 1}}}
    bowl = {"kind": "gibbs", "feature": "matching", "measure": "bowl", "nu": "mu"}
    game = {"kind": "game", "feature": "matching"}
    return {**given, "coupling": {"kind": "sum", "couplings": [game, bowl], "weights": [1.0, weight]}}


@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
def test_a_measure_without_flows_and_without_a_potential_stands_still(registry: Registry, order: str) -> None:
    built = build(from_tables(bowled(order), registry), registry)
    after = walked(built, 3)
    assert torch.equal(after["bowl"].points, built.system["bowl"].points)
    assert not torch.equal(after["mu"].points, built.system["mu"].points)


@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
@pytest.mark.parametrize("flow", [{"kind": "restart", "probability": 0.1}, {"kind": "langevin"}, {"kind": "birth-death"}])
def test_lists_that_jump_are_refused_by_name(registry: Registry, order: str, flow: dict[str, Any]) -> None:
    given = {**TABLES, "order": order}
    given["measures"] = {**TABLES["measures"], "nu": {"init": {"kind": "data"}, "flows": ["wasserstein", flow]}}
    with pytest.raises(ConfigError, match=rf"measures\.nu\.flows\.1 \({flow['kind']}\): order = '{order}' .*sequential"):
        from_tables(given, registry)


@pytest.mark.parametrize("order", ["extragradient", "optimistic"])
def test_a_resumed_run_remembers_the_last_field_and_the_average(shell: Shell, order: str) -> None:
    whole = shell.write(tables=tables(order, "matching", [{"kind": "wfr", "conserve": True}, {"kind": "average", "slots": 2}]))
    for arguments in (["run", whole, "--out", "whole", "--set", "steps=7"], ["run", whole, "--out", "parts", "--set", "steps=4"]):
        assert shell(*arguments, "--quiet").code == 0
    assert shell("resume", "parts", "--steps", "7", "--quiet").code == 0
    one, two = (
        load_file(shell.folder / out / "checkpoints" / "step-000000007.part-0-of-1.safetensors") for out in ("whole", "parts")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


# --- equilibria ---


def payoff(feature: Fourier, mu: Particles, nu: Particles) -> np.ndarray:
    return feature.pair(mu.points, nu.points).numpy()


def matrix_value(L: np.ndarray) -> float:
    """min over p of max over q of p' L q, by linear programming."""
    n, m = L.shape
    solved = linprog(
        [0.0] * n + [1.0],
        np.hstack([L.T, -np.ones((m, 1))]),
        np.zeros(m),
        [[1.0] * n + [0.0]],
        [1.0],
        [(0, None)] * n + [(None, None)],
    )
    return float(solved.fun)


@pytest.mark.parametrize("steps", [100, 1600])
def test_the_gap_of_the_averages_obeys_the_regret_bound_and_encloses_the_value(registry: Registry, steps: int) -> None:
    """Atoms that stand still and react play the exponential-weights algorithm on the matrix L of payoffs.

    Its regret for losses in a range r is at most log n / h + T h r^2 / 8, so that h = c / sqrt(T) brings the gap of the
    averages to 0 like 1 / sqrt(T); and the value that linear programming finds lies within the gap of theirs.
    """
    feature = Fourier(waves=6)
    flows = [{"kind": "average", "slots": 4}, {"kind": "fisher-rao", "conserve": True}]
    n, r = 40, 2 * float(drawn(6, 2, 0, True, 1)[0].abs().sum())
    h = math.sqrt(8 * math.log(n) / steps) / r
    given = tables("simultaneous", {"kind": "fourier", "waves": 6}, flows, step=h)
    built = build(from_tables(given, registry), registry)
    system = walked(built, steps)
    p, q = (time_average(name, system[name], steps) for name in ("mu", "nu"))
    L = payoff(feature, built.system["mu"], built.system["nu"])
    weights = [mu.mass.reshape(n, -1).sum(1).numpy() for mu in (p, q)]
    np.testing.assert_allclose([w.sum() for w in weights], 1, atol=1e-12)
    high, low = (weights[0] @ L).max(), (L @ weights[1]).min()
    assert high - low <= 2 * (math.log(n) / h + steps * h * r**2 / 8) / steps
    assert low <= matrix_value(L) <= high


@pytest.mark.parametrize(("feature", "d"), [("matching", 1), ({"kind": "fourier", "waves": 6}, 2)])
def test_the_gap_of_the_averages_falls_where_players_move_too(registry: Registry, feature: Any, d: int) -> None:
    """Atoms that move and react: from T in [40, 80] to [160, 320] the swinging gap's envelope at least halves.

    (1 / sqrt(T), the rate of the regret bound, being the slowest allowed.)
    """
    flows = [{"kind": "wfr", "conserve": True, "transport": 0.1}, "average"]
    metric = NikaidoIsoda(average=True, grid=400, starts=8)
    built = build(from_tables(tables("extragradient", feature, flows, d=d, step=0.2), registry), registry)
    gaps, system = [], built.system
    for step in range(321):
        if step in (0, 40, 60, 80, 160, 240, 320):
            gaps.append(measured(system, built.view, [metric])["nikaido-isoda.average"])
        system = advance(built.dynamics, system)
    assert min(gaps) >= 0
    assert max(gaps[4:]) < 0.5 * max(gaps[1:4]) < 0.5 * gaps[0]


def test_simultaneous_players_circle_ever_wider_where_extragradient_closes_in(registry: Registry) -> None:
    gaps = {}
    for order in ("simultaneous", "extragradient", "optimistic"):
        given = tables(order, "matching", [{"kind": "fisher-rao", "conserve": True}], step=0.3)
        built = build(from_tables(given, registry), registry)
        ends = (built.system, walked(built, 300))
        gaps[order] = [measured(system, built.view, [NikaidoIsoda(grid=200, starts=4)])["nikaido-isoda"] for system in ends]
    assert gaps["simultaneous"][1] > 1.5 * gaps["simultaneous"][0]
    assert gaps["extragradient"][1] < 0.5 * gaps["extragradient"][0]
    assert gaps["optimistic"][1] < 0.5 * gaps["optimistic"][0]


def test_nikaido_isoda_of_known_strategies() -> None:
    """Matching: single points at distance t gain 1 - cos t (nu moves onto mu) and cos t + 1 (mu moves opposite nu)."""
    for t in (0.0, 1.0, 2.5):
        mu, nu = (Particles.uniform(torch.tensor([[x]], dtype=torch.float64), Torus()) for x in (0.3, 0.3 + t))
        system = System({"mu": mu, "nu": nu})
        view = View(TwoPlayers(Matching()), Chunked(), Keyed(0), None)
        assert float(NikaidoIsoda().measure(system, view)["nikaido-isoda"]) == pytest.approx(2.0, abs=1e-9)
    even = Particles.uniform(torch.linspace(-PI, PI, 9, dtype=torch.float64)[:-1, None], Torus())
    view = View(TwoPlayers(Matching()), Chunked(), Keyed(0), None)
    assert float(NikaidoIsoda().measure(System({"mu": even, "nu": even}), view)["nikaido-isoda"]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("a", "b", "weight"), [(0.4, -1.0, 0.3), (2.0, 2.5, 1.7), (PI / 2, 0.0, 0.0)])
def test_nikaido_isoda_of_a_sum_counts_what_the_players_pay_now(registry: Registry, a: float, b: float, weight: float) -> None:
    """mu at a pays cos(a - b) + c cos a and could pay -|e^ib + c|; nu at b is paid cos(a - b) and could be paid 1."""
    built = build(from_tables(bowled("simultaneous", weight), registry), registry)
    mu, nu, bowl = (Particles.uniform(torch.tensor([[x]], dtype=torch.float64), Torus()) for x in (a, b, 0.0))
    system = built.system.replace({"mu": mu, "nu": nu, "bowl": bowl})
    found = measured(system, built.view, [NikaidoIsoda()])["nikaido-isoda"]
    wanted = weight * math.cos(a) + math.sqrt(1 + weight**2 + 2 * weight * math.cos(b)) + 1
    assert found == pytest.approx(wanted, abs=1e-9)


def test_the_average_has_to_be_kept(shell: Shell) -> None:
    given = tables("simultaneous", "matching", ["wasserstein"], metrics=[{"kind": "nikaido-isoda", "average": True}])
    said = shell("run", shell.write(tables=given), "--quiet")
    assert said.code == 2
    assert "measures.mu.flows: no time average is kept; put {kind = 'average'} last in the list" in said.err


# --- time averages ---


@pytest.mark.parametrize("domain", [Euclidean(), Sphere(), Torus()], ids=lambda domain: domain.kind)
def test_time_averages_are_exact_for_standing_atoms_and_second_order_for_moving_ones(domain: Domain) -> None:
    """Means of a smooth function over the whole history against the average's: halving the window divides the error by 4."""
    points, log_mass = domain.sample(normals(6, 2)), 0.3 * normals(6, seed=1)
    direction = domain.tangent(points, normals(6, 2, seed=2))
    steps = 160

    def at(step: int, moving: bool) -> Particles:
        t = step / steps
        place = domain.exp(points, t * direction) if moving else points
        return Particles(place, torch.ones_like(log_mass), log_mass + math.sin(5 * t) * normals(6, seed=3), domain)

    def seen(mu: Particles) -> float:
        return float((mu.mass * torch.cos(mu.points).sum(1)).sum())

    errors: dict[tuple[bool, int], float] = {}
    for moving in (False, True):
        truth = sum(seen(at(step, moving)) for step in range(steps)) / steps
        for slots in (10, 20):
            flow = Average(slots=slots)
            mu = marked(at(0, moving), (flow,), Keyed(0))
            for step in range(steps):
                now = at(step, moving).replace(marks=mu.marks)
                dynamics = Dynamics(Alone(quadratic(2)), {"mu": (flow,)}, 1.0)
                mu = apply_flows(dynamics, "mu", System({"mu": now}, step=step), 1.0)
            average = time_average("mu", mu, steps)
            assert average.size == 6 * slots
            errors[moving, slots] = abs(seen(average) - truth)
    assert max(errors[False, 10], errors[False, 20]) < 1e-12
    assert errors[True, 10] > 1e-8  # the atoms do move within a window
    assert 3 < errors[True, 10] / errors[True, 20] < 5  # 4 up to higher orders in the window


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31])
def test_every_step_counts_once_whatever_was_merged(steps: int) -> None:
    flow, history = Average(slots=4), []
    mu = marked(measure(Space(Euclidean(), 1), 3), (flow,), Keyed(0))
    dynamics = Dynamics(Alone(quadratic(1)), {"mu": (flow,)}, 1.0)
    for step in range(steps):
        mu = mu.replace(points=normals(3, 1, seed=step), log_mass=normals(3, seed=100 + step))
        history.append(mu)
        mu = apply_flows(dynamics, "mu", System({"mu": mu}, step=step), 0.1)
    average = time_average("mu", mu, steps)
    for moment in (0, 1):  # linear functions are averaged exactly
        truth = sum(float((each.mass * each.points[:, 0] ** moment).sum()) for each in history) / steps
        assert float((average.mass * average.points[:, 0] ** moment).sum()) == pytest.approx(truth, rel=1e-12)


# --- the torus and what lives on it ---


def test_the_torus_goes_the_short_way_round() -> None:
    at, to = torch.tensor([[3.0, -3.0]]), torch.tensor([[-3.0, 3.0]])
    short = 2 * PI - 6
    torch.testing.assert_close(Torus().log(at, to), torch.tensor([[short, -short]]))
    assert torch.equal(Torus().log_volume(at, torch.tensor([[1.0, 3.2]])), torch.tensor([-torch.inf]))
    assert float(Torus().project(torch.tensor([[PI + 1, 100 * PI]], dtype=torch.float64))[0, 0]) == pytest.approx(1 - PI)


def test_the_base_law_of_the_torus_is_uniform() -> None:
    n, bins = 50_000, 20
    points = Torus().sample(normals(n, 2))
    cells = ((points + PI) / (2 * PI) * bins).long().clamp(max=bins - 1)
    for counts in (torch.bincount(cells[:, i], minlength=bins).double() for i in (0, 1)):
        assert float(((counts - n / bins) ** 2 / (n / bins)).sum()) < 58.6  # 1 - 7e-6 quantile of chi^2 with 19 degrees


def test_heat_on_the_torus() -> None:
    """Brownian motion with T = 1: E cos(x_t - x_0) = exp(-t) on each circle, exactly for Gaussian steps."""
    n, h, steps = 40_000, 0.05, 20
    mu = Particles.uniform(Torus().sample(normals(n, 2)), Torus())
    start = mu.points
    still = Alone(quadratic(2).__class__(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)))
    dynamics = Dynamics(still, {"mu": (Langevin(),)}, 1.0)
    for step in range(steps):
        mu = apply_flows(dynamics, "mu", System({"mu": mu}, step=step), h)
    assert float(Torus().distance_to(mu.points).max()) == 0
    for i in (0, 1):
        mean = float((mu.points - start)[:, i].cos().mean())
        assert abs(mean - math.exp(-h * steps)) < FIVE * math.sqrt(0.5 / n)


def test_fourier_is_the_sum_it_says_and_is_periodic() -> None:
    phi, x, y = Fourier(waves=5, highest=3, seed=2), Torus().sample(normals(4, 2)), Torus().sample(normals(3, 2, seed=1))
    a, b, n = drawn(5, 3, 2, True, 2)
    _, _, m = drawn(5, 3, 2, False, 2)
    written = torch.stack([torch.stack([(a * torch.cos(m @ p + n @ q + b)).sum() for q in y]) for p in x])
    torch.testing.assert_close(phi.pair(x, y), written)
    torch.testing.assert_close(phi.pair(x + 2 * PI, y - 4 * PI), written)
    assert not bool((m == 0).all(1).any())


def test_matching_and_bilinear_are_what_they_say() -> None:
    x, y = normals(4, 3), normals(5, 2, seed=1)
    A = ((1.0, 2.0), (0.0, -1.0), (0.5, 0.0))
    torch.testing.assert_close(Bilinear(A).pair(x, y), x @ torch.tensor(A, dtype=torch.float64) @ y.T)
    z = normals(5, 3, seed=2)
    torch.testing.assert_close(Matching().pair(x, z), torch.cos(x[:, None] - z).sum(2))


# --- sums ---


def test_sum_equals_the_sum() -> None:
    x = Space(Euclidean(base="gaussian"), 2)
    parts: tuple[Coupling, ...] = (TwoPlayers(Gaussian(), "nu", "gamma"), Regression(Gaussian()), DualEbm(Gaussian(length=0.5)))
    both, reducer = Sum(parts, weights=(0.5, -2.0, 3.0)), Chunked()
    data = measure(x, 9).replace(marks={"y": normals(9)})
    system = System({"nu": measure(x, 5, seed=1), "gamma": measure(x, 6, seed=2, signed=True), "data": data})
    assert both.moves == ("nu", "gamma")
    assert both.reads == ("data",)
    value = sum(c * float(part.value(system, reducer)) for c, part in zip(both.weights or (), parts, strict=True))
    assert float(both.value(system, reducer)) == pytest.approx(value, rel=1e-12)
    for name, terms in {"nu": {0: 0.5, 2: 3.0}, "gamma": {0: 0.5, 1: -2.0, 2: 3.0}}.items():
        at = normals(4, 2, seed=5)
        got = both.bind(name, system, reducer)(at, Need.BOTH)
        fields = [parts[i].bind(name, system, reducer)(at, Need.BOTH).scale(c) for i, c in terms.items()]
        torch.testing.assert_close(got.value, sum(field.value for field in fields))
        torch.testing.assert_close(got.grad, sum(field.grad for field in fields))
    energy, own = (each.energy(system, reducer)(data.points, Need.VALUE).value for each in (both, parts[1]))
    assert torch.equal(energy, own)  # the game has none; the regression is the first that does


def test_a_sum_of_games_learns_no_energy_and_says_so() -> None:
    with pytest.raises(TypeError, match="none of the couplings"):
        Sum((TwoPlayers(Relu()),)).energy(System({}), Chunked())


def test_a_sum_whose_parts_disagree_is_refused(shell: Shell) -> None:
    parts = [{"kind": "dual-ebm", "feature": "relu"}, {"kind": "dual-ebm", "feature": "relu-affine"}]
    file = shell.write({"coupling": {"kind": "sum", "couplings": parts}})
    said = shell("check", file)
    assert said.code == 2
    assert "coupling.couplings.1 (dual-ebm): puts 'gamma' on" in said.err
    said = shell("check", shell.write({"coupling": {"kind": "sum", "couplings": parts, "weights": [1.0]}}))
    assert "2 couplings need as many finite weights, got [1.0]" in said.err


# --- features that do not fit the torus ---

GAUSSIAN = {"kind": "gaussian", "length": 0.5}
PERIODIC = {"kind": "periodic", "kernel": GAUSSIAN}


def kernels(feature: Any, domain: str = "torus") -> dict[str, Any]:
    """One feature in each place that takes one: a part of a sum, a flow, a flow within a flow, a metric."""
    given = tables("simultaneous", "matching", ["wasserstein"], domain, 2)
    density = {"kind": "birth-death", "density": feature}
    given["measures"]["mu"] = {
        "init": {"kind": "uniform", "size": 5},
        "flows": [density, {"kind": "repeat", "times": 2, "flow": density}],
    }
    parts = [
        {"kind": "game", "feature": "bilinear" if domain == "sphere" else "matching"},
        {"kind": "mmd", "feature": feature, "nu": "mu", "data": "nu"},
    ]
    metrics = [{"kind": "mmd", "kernel": feature, "between": ["mu", "nu"]}]
    return {**given, "coupling": {"kind": "sum", "couplings": parts}, "metrics": metrics}


def test_features_without_the_period_of_the_torus_are_refused_by_name(registry: Registry) -> None:
    with pytest.raises(ConfigError) as refused:
        from_tables(kernels(GAUSSIAN), registry)
    paths = [problem.partition(": does not have period 2 pi")[0] for problem in refused.value.problems]
    assert paths == [
        "coupling.couplings.1.feature (gaussian)",
        "measures.mu.flows.0.density (gaussian)",
        "measures.mu.flows.1.flow.density (gaussian)",
        "metrics.0.kernel (gaussian)",
    ]
    from_tables(kernels(PERIODIC), registry)
    from_tables(kernels(GAUSSIAN, "sphere"), registry)


@pytest.mark.parametrize("feature", ["relu", "relu-affine", "bilinear", "laplace", "von-mises-fisher", "mlp"])
def test_payoffs_without_a_period_are_refused(registry: Registry, feature: str) -> None:
    with pytest.raises(ConfigError, match=rf"coupling\.feature \({feature}\): does not have period 2 pi .* fourier or matching"):
        from_tables(tables("simultaneous", feature, ["wasserstein"]), registry)


def test_a_periodic_kernel_is_the_kernel_of_the_chords(registry: Registry) -> None:
    phi, x, y = Periodic(Gaussian(0.7)), Torus().sample(normals(6, 2)), Torus().sample(normals(5, 2, seed=1))
    chord = (4 * torch.sin((x[:, None] - y) / 2).square()).sum(2)
    torch.testing.assert_close(phi.pair(x, y), torch.exp(-chord / (2 * 0.49)))
    near = x + 1e-4 * normals(6, 2, seed=2)
    torch.testing.assert_close(phi.pair(x, near).diagonal(), Gaussian(0.7).pair(x, near).diagonal(), rtol=0, atol=1e-15)
    with pytest.raises(ConfigError, match=r"coupling \(game\): feature periodic: pairs angles, these points live on sphere"):
        from_tables(tables("simultaneous", PERIODIC, ["wasserstein"], "sphere", 3), registry)
    with pytest.raises(ValueError, match="'matching' is no kernel of"):
        Periodic(Matching())
