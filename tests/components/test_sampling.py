"""Samplers of known energies: Metropolis, birth and death, SVGD, kinetic Langevin; tolerances are 5 standard errors."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from test_flows import FIVE, moved

from measureflow.config.build import build
from measureflow.config.validate import from_tables, load
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.coupling import Linear, Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.simulate import apply_flows, run
from measureflow.errors import MeasureflowError
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import Alone, Quadratic, normals, stepped
from measureflow_plugins.couplings._known import Banana, DoubleWell, Gaussian, Known, VonMisesFisher
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features.gaussian import Gaussian as Kernel
from measureflow_plugins.features.inverse_multiquadric import InverseMultiquadric
from measureflow_plugins.features.periodic import Periodic
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows.birth_death import BirthDeath, parents
from measureflow_plugins.flows.fisher_rao import FisherRao
from measureflow_plugins.flows.kinetic_langevin import KineticLangevin
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.svgd import Svgd
from measureflow_plugins.metrics.acceptance import Acceptance
from measureflow_plugins.metrics.moments import MomentErrors
from measureflow_plugins.sources._neurons import as_neurons
from measureflow_plugins.sources._planted import Planted

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
ENERGY = {"monomodal": -3.0942, "bimodal": -1.7666}  # exact means of the teachers' energies


def uniform(points: torch.Tensor, domain: Any) -> Particles:
    return Particles.uniform(points, domain)


def walked(
    flows: tuple[Flow, ...], mu: Particles, V: Potential, h: float, steps: int, burn: int, g: Callable[[torch.Tensor], torch.Tensor]
) -> tuple[Particles, torch.Tensor]:
    """The last measure, and for each row the mean of g over the steps after `burn`."""
    dynamics, total = Dynamics(Alone(V), {"mu": flows}, 1.0, seed=1), torch.zeros(mu.size, dtype=torch.float64)
    system = System({"mu": marked(mu, flows, Keyed(1))})
    for step in range(steps):
        system = system.replace({"mu": apply_flows(dynamics, "mu", system, h)}).tick(h)
        if step >= burn:
            total += g(system["mu"].points)
    return system["mu"], total / (steps - burn)


# Metropolis


def taught(name: str, n: int) -> tuple[Particles, Potential]:
    """n exact samples of a teacher's law and its energy."""
    neurons = np.array(as_neurons(name))
    planted = Planted(neurons, np.array([-10.0, -10.0]))
    acceptance = math.exp(planted.moments()[0] + planted.lower_bound)
    data = torch.as_tensor(planted.sample(n, acceptance, np.random.default_rng(0)))
    teacher = uniform(torch.as_tensor(neurons), Sphere())
    five = torch.full((2,), 5.0, dtype=torch.float64)
    teacher = teacher.replace(sign=-torch.ones_like(five), log_mass=five.log())
    return uniform(data, Sphere()), Linear(Chunked(), Relu(), ((1.0, teacher),))


@pytest.mark.parametrize(
    ("name", "accepted", "euler", "tangent"), [("monomodal", 0.94, -3.44, -2.90), ("bimodal", 0.96, -1.84, -1.66)]
)
def test_only_metropolis_keeps_the_teachers_energy(name: str, accepted: float, euler: float, tangent: float) -> None:
    """h = .02, from the law itself: means over 10,000 chains and times 1.2 to 3.2. Chains are independent, so their own
    averages give the standard error, of which 5 must be below 1%; the others' known means have two decimals."""
    start, f = taught(name, 10_000)
    exact = ENERGY[name]
    means, shares = {}, {}
    for method in ("metropolis", "euler", "geodesic"):
        flow = Langevin(method=method)  # type: ignore[arg-type]
        mu, chains = walked((flow,), start, f, 0.02, 160, 60, lambda x: f(x, Need.VALUE).value)
        assert FIVE * float(chains.std()) / 100 < 0.01 * abs(exact)
        means[method], shares[method] = float(chains.mean()), mu.marks.get("accepted")
    assert abs(means["metropolis"] - exact) < 0.01 * abs(exact)
    assert abs(means["euler"] - euler) < 0.005 + 0.01 * abs(exact)
    assert abs(means["geodesic"] - tangent) < 0.005 + 0.01 * abs(exact)
    assert means["euler"] < exact * 1.03
    assert means["geodesic"] > exact * 0.97
    share = shares["metropolis"]
    assert share is not None
    assert abs(float(share.mean()) - accepted) < 0.005 + FIVE * math.sqrt(0.06 * 0.94) / 100


def test_mala_with_a_gaussian_base_temperature_and_rate() -> None:
    """V = k x^2/2 on N(0, s), T: variance 1/(k/T + 1/s); started there it stays, and Euler's own 2c/(1-q^2) is elsewhere."""
    k, T, s, h, rate, n = 2.0, 0.5, 2.0, 0.2, 2.0, 20_000
    domain, variance = Euclidean(base="gaussian", variance=s), 1 / (k / T + 1 / s)
    V = Quadratic(k * torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    start = uniform(normals(n, 1) * math.sqrt(variance), domain)
    ends = [moved(Langevin(method=m, temperature=T, rate=rate), start, V, h, 40).points for m in ("metropolis", "euler")]  # type: ignore[arg-type]
    error = FIVE * variance * math.sqrt(2 / n)
    assert abs(float(ends[0].var()) - variance) < error
    q = 1 - rate * h * (k + T / s)
    unadjusted = 2 * T * rate * h / (1 - q * q)
    assert abs(float(ends[1].var()) - unadjusted) < FIVE * unadjusted * math.sqrt(2 / n)
    assert unadjusted - variance > 5 * error


@pytest.mark.parametrize("method", ["plain", "antithetic"])
def test_metropolis_from_elsewhere_finds_the_law_of_the_sphere_at_huge_steps(method: str) -> None:
    """S^2, U = -3 x_1, h = .5: proposals go all round; mean coth k - 1/k."""
    n, known = 20_000, VonMisesFisher(3.0)
    mu = moved(Langevin(method="metropolis", noise=method), uniform(Sphere().sample(normals(n, 3)), Sphere()), known, 0.5, 40)  # type: ignore[arg-type]
    mean, variance = known.moments(3, 1.0)
    assert mean[0] == pytest.approx(1 / math.tanh(3) - 1 / 3, abs=1e-12)
    for j in range(3):  # antithetic pairs: at most twice the variance of the mean
        assert abs(float(mu.points[:, j].mean()) - mean[j]) < FIVE * math.sqrt(2 * variance[j] / n)
    assert 0.2 < float(mu.marks["accepted"].mean()) < 0.9


def test_metropolis_on_the_torus_refuses_what_goes_round() -> None:
    """U = cos(angle) on the circle, h = 2: E cos = -I_1(1)/I_0(1)."""
    n = 20_000
    mu = moved(Langevin(method="metropolis"), uniform(Torus().sample(normals(n, 1)), Torus()), Cosine(), 2.0, 40)
    assert abs(float(mu.points.cos().mean()) + 0.446390) < FIVE / math.sqrt(2 * n)


@attrs.frozen(eq=False)
class Cosine(Potential):
    """V(x) = cos(x_1), period 2 pi; counts its evaluations."""

    asked: list[int] = attrs.field(factory=list)

    def __call__(self, at: torch.Tensor, need: Need) -> Field:
        self.asked.append(len(at))
        return Field(at[:, 0].cos(), -at.sin())


def test_metropolis_asks_twice_and_its_atoms_stay_where_refused() -> None:
    V, mu = Cosine(), uniform(normals(50, 1), Euclidean())
    after = stepped(Langevin(method="metropolis"), mu, 3.0, V)
    assert V.asked == [50, 50]
    accepted = after.marks["accepted"].bool()
    assert accepted.any()
    assert not accepted.all()
    assert torch.equal((after.points != mu.points)[:, 0], accepted)


@pytest.mark.parametrize("domain", [Euclidean(base="gaussian", variance=0.5), Sphere()])
def test_what_metropolis_proposes_is_the_geodesic_step(domain: Any) -> None:
    mu, V = uniform(domain.sample(normals(60, 4)), domain), Quadratic(torch.eye(4, dtype=torch.float64), normals(4))
    kept, free = (stepped(Langevin(method=m, temperature=0.6, rate=2.0), mu, 0.15, V) for m in ("metropolis", "geodesic"))  # type: ignore[arg-type]
    accepted = kept.marks["accepted"].bool()
    assert 5 < int(accepted.sum()) < 60
    torch.testing.assert_close(kept.points, torch.where(accepted[:, None], free.points, mu.points), rtol=0, atol=1e-12)


def test_metropolis_at_zero_temperature_is_the_geodesic_descent() -> None:
    mu, V = uniform(Sphere().sample(normals(9, 4)), Sphere()), Quadratic(torch.eye(4, dtype=torch.float64), normals(4))
    ends = [stepped(Langevin(method=m, temperature=0.0), mu, 0.1, V).points for m in ("metropolis", "geodesic")]  # type: ignore[arg-type]
    assert torch.equal(*ends)


# Known energies


@pytest.mark.parametrize(
    ("known", "d", "T"), [(Gaussian(2.0), 2, 0.7), (DoubleWell(1.5), 2, 0.7), (Banana(0.5), 3, 0.7), (VonMisesFisher(2.0), 5, 0.5)]
)
def test_moments_of_known_energies(known: Known, d: int, T: float) -> None:
    """Importance sampling from a wide law, independent of the formulas."""
    n, domain = 400_000, Sphere() if known.on == "sphere" else Euclidean()
    wide = 1.6
    points = domain.sample(normals(n, d)) if known.on == "sphere" else wide * normals(n, d)
    base = torch.zeros(n, dtype=torch.float64) if known.on == "sphere" else points.square().sum(1) / (2 * wide**2)
    weight = (base - known(points, Need.VALUE).value / T).softmax(0)
    mean, variance = (torch.as_tensor(part) for part in known.moments(d, T))
    for g, exact in ((points, mean), ((points - mean).square(), variance)):
        value = (weight[:, None] * g).sum(0)
        error = (weight.square()[:, None] * (g - value).square()).sum(0).sqrt()
        assert ((value - exact).abs() < FIVE * error).all()


LINE = {"kind": "space", "domain": "euclidean", "dim": 1}
TABLES: dict[str, Any] = {
    "name": "known",
    "steps": 3,
    "step": 0.05,
    "dtype": "float64",
    "data": {"kind": "space", "domain": "euclidean", "dim": 2},
    "measures": {"nu": {"init": {"kind": "uniform", "size": 20}, "flows": [{"kind": "langevin", "method": "metropolis"}]}},
    "coupling": {"kind": "gibbs", "energy": "double-well"},
    "metrics": [{"kind": "acceptance"}, {"kind": "moments"}],
}


def test_an_experiment_without_data(registry: Registry) -> None:
    experiment = from_tables(TABLES, registry)
    built = build(experiment, registry)
    *_, last = run(built.dynamics, built.system, 3)
    parts = {probe.metric: probe.metric.measure(last, built.view) for probe in experiment.metrics}
    assert all(tuple(part) == metric.names for metric, part in parts.items())
    numbers = {name: float(value) for part in parts.values() for name, value in part.items()}
    assert numbers["acceptance"] == float(last["nu"].marks["accepted"].mean())
    points = last["nu"].points
    variance = torch.as_tensor(DoubleWell(1.0).moments(2, 1.0)[1])
    assert numbers["moments.variance"] == pytest.approx(float((points.var(0, correction=0) - variance).abs().max()))


def test_metrics_say_what_they_miss(registry: Registry) -> None:
    known = build(from_tables({**TABLES, "metrics": []}, registry), registry)
    unadjusted = known.system.replace({"nu": known.system["nu"].replace(marks={})})
    with pytest.raises(MeasureflowError, match="method = 'metropolis'"):
        Acceptance().measure(unadjusted, known.view)
    data = {"kind": "space", "domain": {"kind": "euclidean", "base": "gaussian"}, "dim": 2}
    based = build(from_tables({**TABLES, "data": data}, registry), registry)
    with pytest.raises(MeasureflowError, match="flat base"):
        MomentErrors().measure(based.system, based.view)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"coupling": {"kind": "gibbs", "energy": "vmf"}}, "known: banana, double-well"),
        ({"coupling": {"kind": "gibbs"}}, "give either energy"),
        ({"coupling": {"kind": "gibbs", "energy": "von-mises-fisher"}}, "is on the domain 'sphere'"),
        (
            {"data": LINE, "coupling": {"kind": "gibbs", "energy": "banana"}},
            "dim >= 2",
        ),
        ({"coupling": {"kind": "gibbs", "feature": "relu"}}, "teacher"),
    ],
)
def test_what_gibbs_refuses(registry: Registry, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(MeasureflowError, match=said):
        build(from_tables({**TABLES, **changes}, registry), registry)


# Birth and death


def test_expected_births_and_deaths_are_the_reaction() -> None:
    """Averaged over the shift, the number of atoms at each place is M times the mass that fisher-rao, conserving, gives it."""
    mu, V = uniform(normals(40, 2), Euclidean()), Quadratic(torch.eye(2, dtype=torch.float64), normals(2, seed=1))
    share = stepped(FisherRao(conserve=True), mu, 0.7, V).log_mass.exp()
    counts = torch.zeros(40, dtype=torch.float64)
    shifts = 1000
    for i in range(shifts):
        shift = torch.tensor([(i + 0.5) / shifts], dtype=torch.float64)
        index = parents(share, shift)
        count = torch.bincount(index, minlength=40)
        assert ((count - 40 * share).abs() < 1 + 1e-9).all()
        assert (index[count > 0] == torch.arange(40)[count > 0]).all()  # survivors keep their rows
        counts += count
    torch.testing.assert_close(counts / shifts, 40 * share, rtol=0, atol=2 / shifts)  # the midpoint rule on steps of height 1
    after = stepped(BirthDeath(rate=7.0), mu, 0.1, V)
    assert after.equal
    kept = (after.points[:, None] == mu.points).all(2).sum(0)
    assert ((kept - 40 * share).abs() < 1 + 1e-9).all()


def test_clones_carry_marks_and_unequal_masses_become_equal() -> None:
    lineage = torch.arange(30, dtype=torch.float64)
    mu = uniform(normals(30, 2), Euclidean()).replace(log_mass=normals(30, seed=3), marks={"lineage": lineage})
    after = stepped(BirthDeath(rate=5.0), mu, 0.1, Quadratic(torch.eye(2, dtype=torch.float64), normals(2)))
    assert torch.equal(after.points, mu.points[after.marks["lineage"].long()])
    assert float(after.total) == pytest.approx(float(mu.total), abs=1e-12)
    assert len(set(after.log_mass.tolist())) == 1


def test_birth_death_beside_langevin_keeps_a_gaussian_only_with_the_density() -> None:
    """dv/dt = 2 (1 - v) - v^2 (1 - 1/(v + l^2)) is the variance's law for a kernel of length l; 2 (1 - v) - v^2 without the
    density, whose root is sqrt 3 - 1. 1000 atoms over ten relaxation times or more: standard error .014 to .02; splitting O(h)."""
    V, start, h, length = Gaussian(1.0), uniform(normals(1000, 1), Euclidean()), 0.05, 0.2
    langevin = Langevin(method="metropolis")

    def variance(flow: Flow, steps: int) -> float:
        return float(walked((langevin, flow), start, V, h, steps, 100, lambda x: x[:, 0].square())[1].mean())

    root = brentq(lambda v: 2 * (1 - v) - v * v * (1 - 1 / (v + length**2)), 0.5, 1.5)
    assert abs(variance(BirthDeath(), 500) - (math.sqrt(3) - 1)) < 0.03 + h
    both = variance(BirthDeath(density=Kernel(length=length)), 300)
    assert abs(both - root) < 0.04
    assert abs(both - 1) < 0.05


def test_birth_death_speeds_up_a_start_in_the_wrong_well() -> None:
    """A tenth of the walkers in the right well, barrier 10 T: Langevin leaves it a tenth, birth and death evens it out.

    Langevin crosses at a rate of about sqrt(80 * 40) / 2 pi * e^-10 = .0004 (Kramers), .0016 crossings a walker in t = 4; the
    share's standard error at a half is .025.
    """
    points = 0.1 * normals(400, 2)
    points[:, 0] += torch.where(torch.arange(400) < 40, 1.0, -1.0)
    V, start, langevin = DoubleWell(10.0), uniform(points, Euclidean()), Langevin(method="metropolis")
    lists = ((langevin,), (langevin, BirthDeath(density=Kernel(length=0.2), rate=2.0)))
    slow, fast = (walked(flows, start, V, 0.01, 400, 0, lambda x: x[:, 0])[0].points[:, 0] for flows in lists)
    assert abs(float((slow > 0).double().mean()) - 0.1) < 0.02
    assert abs(float((fast > 0).double().mean()) - 0.5) < FIVE * 0.025


def test_birth_death_on_the_circle_has_the_right_law_at_the_cut() -> None:
    """U = cos(angle): the mass within 15 degrees of pi, over nine batches of 40 steps, each several relaxation times.

    The kernel's length moves the law by .5 % at most (a rate without end); with the distance not taken round the circle it is 7 %.
    """
    langevin, edge = Langevin(method="metropolis"), math.pi * (1 - 1 / 12)
    flows = (langevin, BirthDeath(rate=2.0, density=Periodic(Kernel(length=0.1))))
    dynamics, mu = Dynamics(Alone(Cosine()), {"mu": flows}, 1.0, seed=1), uniform(Torus().sample(normals(400, 1, seed=1)), Torus())
    system, shares = System({"mu": marked(mu, flows, Keyed(1))}), []
    for _ in range(400):
        system = system.replace({"mu": apply_flows(dynamics, "mu", system, 0.05)}).tick(0.05)
        shares.append(float((system["mu"].points.abs() > edge).double().mean()))
    batches = np.array(shares[40:]).reshape(9, 40).mean(1)
    angle = np.linspace(0, math.pi, 120_001)
    law = np.exp(-np.cos(angle))
    exact = law[angle > edge].sum() / law.sum()
    assert exact == pytest.approx(0.1769, abs=1e-4)
    assert abs(batches.mean() - exact) < 3 * batches.std(ddof=1) / 3


# SVGD


@pytest.mark.parametrize("kernel", [Kernel(length=0.7), InverseMultiquadric(length=1.3)])
def test_svgd_direction_against_numpy(kernel: Any) -> None:
    """phi*(x_i) = 1/M sum_j k(x_j, x_i) grad log pi(x_j) + grad_{x_j} k(x_j, x_i), by the whole matrix."""
    x, T, h = normals(30, 3), 0.5, 0.1
    domain, A, b = Euclidean(base="gaussian", variance=2.0), np.eye(3) * 1.5, np.ones(3)
    V = Quadratic(torch.as_tensor(A), torch.as_tensor(b))
    got = stepped(Svgd(kernel=kernel, temperature=T, rate=2.0), uniform(x, domain), h, V).points
    p = x.numpy()
    difference = p[:, None] - p[None]  # x_j - x_i at [j, i]
    r2 = (difference**2).sum(2)
    if isinstance(kernel, Kernel):
        k, slope = np.exp(-r2 / (2 * 0.49)), -np.exp(-r2 / (2 * 0.49)) / 0.49
    else:
        k, slope = (1 + r2 / 1.69) ** -0.5, -((1 + r2 / 1.69) ** -1.5) / 1.69
    force = -(p @ A + b) - T * p / 2.0
    direction = (k.T @ force + T * (slope[:, :, None] * difference).sum(0)) / 30
    np.testing.assert_allclose((got.numpy() - p) / (2 * h), direction, rtol=0, atol=1e-12)


def test_svgd_mean_and_variance_of_a_gaussian() -> None:
    """N(1, 1/2). Repulsion is odd, so a fixed point has mean 1 by symmetry; the variance is short by what 100 atoms leave."""
    V = Quadratic(2 * torch.eye(1, dtype=torch.float64), torch.tensor([-2.0], dtype=torch.float64))
    mu = uniform(3 * normals(100, 1), Euclidean())
    for _ in range(400):
        mu = stepped(Svgd(kernel=Kernel(length=0.5), rate=2.0), mu, 0.2, V)
    assert abs(float(mu.points.mean()) - 1) < 0.01
    assert abs(float(mu.points.var()) - 0.5) < 0.05 * 0.5


def test_svgd_refuses_the_sphere_and_kernels_that_are_not_radial() -> None:
    mu = uniform(Sphere().sample(normals(5, 3)), Sphere())
    with pytest.raises(MeasureflowError, match=r"measures.mu.flows.0 \(svgd\): is defined on R\^d"):
        stepped(Svgd(), mu, 0.1)
    with pytest.raises(ValueError, match="not radial"):
        Svgd(kernel=Relu())


# Kinetic Langevin


def test_kinetic_langevin_has_the_stationary_covariance_of_its_own_map() -> None:
    """BAOAB on V = k x^2/2 is linear: its covariance solves a discrete Lyapunov equation, with var x = T/k exactly."""
    k, T, g, h, n = 2.0, 0.7, 1.5, 0.5, 40_000
    kick, drift = np.array([[1, 0], [-k * h / 2, 1]]), np.array([[1, h / 2], [0, 1]])
    c = math.exp(-g * h)
    step = kick @ drift @ np.diag([1, c]) @ drift @ kick
    noise = kick @ drift @ np.array([[0.0], [math.sqrt(T * (1 - c * c))]])
    S = np.linalg.solve(np.eye(4) - np.kron(step, step), (noise @ noise.T).ravel()).reshape(2, 2)
    assert S[0, 0] == pytest.approx(T / k, abs=1e-12)
    start = uniform(torch.zeros(n, 1, dtype=torch.float64), Euclidean())
    mu = moved(KineticLangevin(temperature=T, friction=g), start, Gaussian(k), h, 40)
    v = mu.marks["momentum"]
    for got, exact in ((mu.points.var(), S[0, 0]), (v.var(), S[1, 1])):
        assert abs(float(got) - exact) < FIVE * exact * math.sqrt(2 / n)
    assert abs(float((mu.points * v).mean()) - S[0, 1]) < FIVE * math.sqrt(S[0, 0] * S[1, 1] / n)


def test_kinetic_langevin_on_the_sphere() -> None:
    """U = -3 x_1 on S^2: positions of the Gibbs law, momenta tangent N(0, T) with |v|^2 = 2 T on average, up to O(h^2)."""
    n, T, h, known = 20_000, 0.8, 0.1, VonMisesFisher(3.0)
    mu = moved(KineticLangevin(temperature=T), uniform(Sphere().sample(normals(n, 3)), Sphere()), known, h, 80)
    mean, variance = known.moments(3, T)
    v = mu.marks["momentum"]
    assert float((v * mu.points).sum(1).abs().max()) < 1e-12
    assert abs(float(mu.points[:, 0].mean()) - mean[0]) < FIVE * math.sqrt(variance[0] / n) + h * h
    assert abs(float(v.square().sum(1).mean()) - 2 * T) < FIVE * 2 * T / math.sqrt(n) + 2 * T * h * h
    fresh = KineticLangevin(temperature=T).marks(mu, Keyed(3))["momentum"]
    assert float((fresh * mu.points).sum(1).abs().max()) < 1e-12
    assert abs(float(fresh.square().sum(1).mean()) - 2 * T) < FIVE * 2 * T / math.sqrt(n)


# The experiments


@pytest.mark.parametrize("name", ["langevin-double-well", "birth-death-two-wells", "svgd-banana", "kinetic-langevin"])
def test_the_examples_come_nearer_to_the_law(registry: Registry, name: str) -> None:
    """150 steps, 300 atoms."""
    few = ["data.train=300"] if name in ("langevin-double-well", "birth-death-two-wells") else ["measures.nu.init.size=300"]
    experiment = load(EXAMPLES / f"{name}.toml", registry, ("steps=150", *few))
    built = build(experiment, registry)
    moments = next(probe.metric for probe in experiment.metrics if probe.metric.kind == "moments")
    *_, last = run(built.dynamics, built.system, experiment.steps)
    first, then = (moments.measure(system, built.view) for system in (built.system, last))
    assert sum(map(float, then.values())) < sum(map(float, first.values()))


# The dual game with both measures at h = .02


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bound"), [("bimodal", 0.005), ("monomodal", 0.007)])
def test_dual_training_with_the_metropolis_step(registry: Registry, name: str, bound: float) -> None:
    experiment = load(EXAMPLES / f"dual-{name}-metropolis.toml", registry)
    built = build(experiment, registry)
    *_, last = run(built.dynamics, built.system, experiment.steps)
    kl = next(probe.metric for probe in experiment.metrics if probe.metric.kind == "kl")
    assert float(kl.measure(last, built.view)["kl"]) < bound
