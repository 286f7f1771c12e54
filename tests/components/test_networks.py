"""Mean-field regression and measures over whole networks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import Shell

from measureflow.config.build import Built, build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.simulate import advance
from measureflow.errors import MeasureflowError
from measureflow.observe.observer import measured
from measureflow.observe.source import Setting
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.testing import check, measure, normals
from measureflow_plugins.couplings.regression import Regression
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.mlp import Mlp
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.metrics.risk import Risk
from measureflow_plugins.sources.file import FromFile
from measureflow_plugins.sources.mixture import Mixture
from measureflow_plugins.sources.regression import PlantedNetwork

SETTING = Setting(Keyed(0), torch.float64, torch.device("cpu"))
FIVE = 5.0  # standard errors: one false alarm in two million


def planted(**other: Any) -> dict[str, Any]:
    return {
        "name": "regression",
        "seed": 1,
        "steps": 100,
        "step": 0.1,
        "dtype": "float64",
        "reducer": "chunked",
        "data": {"kind": "regression", "weights": [2.0, -3.0, 1.0], "dim": 3, "train": 200, "test": 100},
        "measures": {
            "gamma": {
                "init": {"kind": "uniform", "size": 60, "signs": "balanced", "tv": 2.0},
                "flows": [{"kind": "wfr", "rate": 5.0}],
            }
        },
        "coupling": {"kind": "regression", "feature": "relu"},
        **other,
    }


# --- regression ---


@pytest.mark.parametrize(
    ("feature", "space"),
    [
        (Relu(power=2), Space(Sphere(), 3)),
        (Gaussian(), Space(Euclidean(), 2)),
        (Mlp(widths=(4,)), Space(Euclidean(), 2)),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_regression_first_variation(feature: Feature, space: Space) -> None:
    """Central differences of E along random moves of points and log-masses; residuals of both signs, signed masses."""
    coupling, e = Regression(feature), 1e-5
    data = measure(space, 15, seed=4).replace(marks={"y": normals(15, seed=5)})
    gamma = measure(feature.parameter_space(space), 8, signed=True)
    system = System({"gamma": gamma, "data": data})
    V = coupling.bind("gamma", system, Chunked())(gamma.points, Need.BOTH)
    v, eta = gamma.domain.tangent(gamma.points, normals(8, gamma.dim, seed=6)), normals(8, seed=7)

    def slope(ends: list[Particles]) -> float:
        up, down = (float(coupling.value(system.replace({"gamma": end}), Chunked())) for end in ends)
        return (up - down) / (2 * e)

    moved = [gamma.replace(points=gamma.domain.exp(gamma.points, s * v)) for s in (e, -e)]
    grown = [gamma.replace(log_mass=gamma.log_mass + s * eta) for s in (e, -e)]
    assert float((gamma.mass * (V.grad * v).sum(1)).sum()) == pytest.approx(slope(moved), abs=1e-8)
    assert float((gamma.mass * V.value * eta).sum()) == pytest.approx(slope(grown), abs=1e-8)


def test_a_perfect_fit_pulls_at_nothing() -> None:
    """r = 0 everywhere, and r = 0 somewhere: no NaN."""
    space = Space(Sphere(), 3)
    gamma, data = measure(space, 5, signed=True), measure(space, 9, seed=3)
    y = Chunked().field(Relu(), data.points, gamma, Need.VALUE).value
    coupling = Regression(Relu())
    for shift in (torch.zeros(9, dtype=torch.float64), torch.eye(9, dtype=torch.float64)[0]):
        system = System({"gamma": gamma, "data": data.replace(marks={"y": y - shift})})
        V = coupling.bind("gamma", system, Chunked())(gamma.points, Need.BOTH)
        alone = data.mass[0] * Relu().pair(data.points[:1], gamma.points)[0] * shift[0]
        torch.testing.assert_close(V.value, alone, rtol=0, atol=1e-14)
        assert bool(torch.isfinite(V.grad).all())


def test_regression_is_plain_gradient_descent_in_torch(registry: Registry) -> None:
    """100 steps against torch's autograd on (theta, log w), preconditioned by 1/|mass|: the flow's velocity has no w_j."""
    built = build(from_tables(planted(), registry), registry)
    data, gamma = built.system["data"], built.system["gamma"]
    theta, log_mass, y, h = gamma.points.clone(), gamma.log_mass.clone(), data.marks["y"], 0.1 * 5.0
    for _ in range(100):
        theta.requires_grad_(), log_mass.requires_grad_()
        f = torch.relu(data.points @ theta.T) @ (gamma.sign * log_mass.exp())
        loss = 0.5 * (f - y).square().mean()
        on_theta, on_mass = torch.autograd.grad(loss, (theta, log_mass))
        with torch.no_grad():
            weight = log_mass.exp()
            step = on_theta / weight[:, None]
            step = step - theta * (theta * step).sum(1, keepdim=True)
            theta = torch.nn.functional.normalize(theta - h * step, dim=1)
            log_mass = log_mass - h * on_mass / weight
    system = built.system
    for _ in range(100):
        system = advance(built.dynamics, system)
    torch.testing.assert_close(system["gamma"].points, theta, rtol=0, atol=1e-10)
    torch.testing.assert_close(system["gamma"].log_mass, log_mass, rtol=0, atol=1e-10)


def test_regression_finds_a_planted_network(registry: Registry) -> None:
    """Noise-free targets: the risk has no floor, on the training points nor on new ones."""
    built = build(from_tables(planted(), registry), registry)
    system, metric = built.system, Risk()
    start = measured(system, built.view, [metric])
    for _ in range(1500):
        system = advance(built.dynamics, system)
    end = measured(system, built.view, [metric])
    assert end["risk.data"] < 1e-3 * start["risk.data"]
    assert end["risk.test"] < 1e-2 * start["risk.test"]
    value = built.dynamics.coupling.value(system, Chunked())
    assert end["risk.data"] == pytest.approx(2 * float(value), rel=1e-12)


def test_planted_targets_are_the_teachers_plus_noise() -> None:
    source = PlantedNetwork(weights=(2.0, -3.0), dim=3, train=20_000, test=50, noise=0.5, neurons=((1, 0, 0), (0, 3, 4)))
    world = source.world(SETTING)
    theta, a = torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8]], dtype=torch.float64), torch.tensor([2.0, -3.0], dtype=torch.float64)
    for name, noise in (("test", 0.0), ("data", 0.5)):
        mu = world.measures[name]
        error = mu.marks["y"] - torch.relu(mu.points @ theta.T) @ a / 2
        if noise == 0:
            assert float(error.abs().max()) < 1e-14
        else:
            assert abs(float(error.mean())) < FIVE * noise / math.sqrt(mu.size)
            assert abs(float(error.var()) - noise**2) < FIVE * noise**2 * math.sqrt(2 / mu.size)
    torch.testing.assert_close(world.measures["teacher"].points, theta)


def test_targets_come_from_a_column_of_the_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 4))
    np.save(tmp_path / "a.npy", rows)
    np.save(tmp_path / "b.npy", rows[:7] + 1)
    whole = FromFile(str(tmp_path / "a.npy"), targets=1, test=str(tmp_path / "b.npy"))
    world = whole.world(SETTING)
    assert whole.space().dim == 3
    for name, wanted in (("data", rows), ("test", rows[:7] + 1)):
        mu = world.measures[name]
        np.testing.assert_array_equal(mu.points.numpy(), wanted[:, [0, 2, 3]])
        np.testing.assert_array_equal(mu.marks["y"].numpy(), wanted[:, 1])
    split = FromFile(str(tmp_path / "a.npy"), targets=3, columns=(0, 2), test_fraction=0.25).world(SETTING)
    sizes = [split.measures[name].size for name in ("data", "test")]
    assert sizes == [30, 10]
    pairs = {tuple(row) for row in rows[:, [0, 2, 3]]}
    for mu in split.measures.values():  # targets went with their points
        assert {(*p, y) for p, y in zip(mu.points.tolist(), mu.marks["y"].tolist(), strict=True)} <= pairs
    rows[3, 1] = np.nan
    np.save(tmp_path / "c.npy", rows)
    with pytest.raises(MeasureflowError, match=r"the target in row 3 is not finite"):
        FromFile(str(tmp_path / "c.npy"), targets=1).world(SETTING)


def test_data_without_targets_are_refused_with_the_remedy(shell: Shell) -> None:
    np.save(shell.folder / "x.npy", normals(9, 3).numpy())
    given = planted(data={"kind": "file", "path": "x.npy"})
    said = shell("run", shell.write(tables=given), "--quiet")
    assert said.code == 2
    assert "data: the measure 'data' has no targets; name their column with targets = ... in the source 'file'" in said.err
    said = shell("check", shell.write({"data.targets": 7}, given))
    assert said.code == 2
    assert "columns 0 to 2" in said.err


def test_a_resumed_run_notices_other_targets(shell: Shell) -> None:
    np.save(shell.folder / "x.npy", normals(9, 4).numpy())
    file = shell.write(tables=planted(data={"kind": "file", "path": "x.npy", "targets": 3}, steps=2))
    assert shell("run", file, "--quiet", "--out", "new").code == 0
    changed = normals(9, 4).numpy()
    changed[0, 3] += 1
    np.save(shell.folder / "x.npy", changed)
    assert shell("resume", "new", "--steps", "3", "--quiet").code == 2


# --- networks ---


def test_mlp_is_the_network_written_by_hand() -> None:
    d, h, k = 2, 3, 4
    phi, theta, x = Mlp(widths=(h, k), activation="softplus"), normals(5, 2 * 3 + 3 + 3 * 4 + 4 + 4), normals(6, d, seed=1)
    assert phi.parameter_space(Space(Euclidean(), d)).dim == theta.shape[1]
    for j, p in enumerate(theta):
        W, b, U, c, a = (part.view(shape) for part, shape in zip(p.split([6, 3, 12, 4, 4]), [(h, d), h, (k, h), k, k], strict=True))
        hidden = torch.nn.functional.softplus(x @ W.T / math.sqrt(d) + b)
        value = torch.nn.functional.softplus(hidden @ U.T / math.sqrt(h) + c) @ a / math.sqrt(k)
        torch.testing.assert_close(phi.pair(x, theta)[:, j], value)


@pytest.mark.parametrize("widths", [(4,), (256,), (64, 64)])
def test_the_initial_law_gives_outputs_of_size_one_whatever_the_widths(widths: tuple[int, ...]) -> None:
    """tanh, |x|^2 = d: Var phi = E tanh(z)^2 with z ~ N(0, 1 + previous), previous = 1 for the input (|x|^2 / d = 1)."""
    phi, x = Mlp(widths=widths), torch.ones(1, 5, dtype=torch.float64)
    space = phi.parameter_space(Space(Euclidean(), 5))
    n = 4000
    values = phi.pair(x, space.domain.sample(normals(n, space.dim)))[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    size = 1.0
    for _ in widths:
        size = float((weights * np.tanh(math.sqrt(1 + size) * nodes) ** 2).sum() / weights.sum())
    kurtosis = float((values**4).mean() / (values**2).mean() ** 2)
    assert abs(float((values**2).mean()) - size) < FIVE * size * math.sqrt((kurtosis - 1) / n)


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
def test_mlp_serves_every_reduction(registry: Registry, activation: Any) -> None:
    phi = Mlp(widths=(3, 2), activation=activation)
    check(Chunked(tile=300), Space(Euclidean(), 2), registry=registry, feature=phi, sizes=(6, 5)).raise_if_broken()


def test_mixture_is_the_law_it_says() -> None:
    source = Mixture(means=((0.0, 1.0), (2.0, -1.0)), std=0.4, weights=(1.0, 3.0), train=40_000)
    x = source.world(SETTING).measures["data"].points
    mean = torch.tensor([1.5, -0.5], dtype=torch.float64)
    between = torch.tensor([[0.75, -0.75], [-0.75, 0.75]], dtype=torch.float64)
    cov = 0.16 * torch.eye(2, dtype=torch.float64) + between
    assert float((x.mean(0) - mean).abs().max()) < FIVE * math.sqrt(0.91 / len(x))
    assert float((torch.cov(x.T) - cov).abs().max()) < FIVE * 0.91 * math.sqrt(2 / len(x))  # kurtosis below Gaussian's here
    line = torch.linspace(-4, 6, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    assert float(source.log_density(grid).exp().sum()) * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="lives on R"):
        Mixture(means=((0.0, 1.0),), train=3, domain=Sphere())


def deep(**other: Any) -> dict[str, Any]:
    base = {"kind": "euclidean", "base": "gaussian", "variance": 2.0}
    return {
        "name": "deep-dual",
        "steps": 300,
        "step": 0.02,
        "dtype": "float64",
        "reducer": "chunked",
        "data": {"kind": "mixture", "means": [[1.5, 0.0], [-1.5, 0.0]], "std": 0.5, "train": 400, "domain": base},
        "measures": {
            "nu": {"init": {"kind": "data"}, "flows": ["langevin"]},
            "gamma": {"init": {"kind": "uniform", "size": 8}, "flows": [{"kind": "wasserstein", "rate": 10.0}]},
        },
        "coupling": {"kind": "dual-ebm", "feature": {"kind": "mlp", "widths": [8]}},
        **other,
    }


def divergence(built: Built, system: System, mixture: Mixture) -> float:
    """KL(data law | exp(-f) dtau / Z), by quadrature on a square."""
    line = torch.linspace(-5, 5, 101, dtype=torch.float64)
    grid, cell = torch.cartesian_prod(line, line), float(line[1] - line[0]) ** 2
    f = built.view.coupling.energy(system, Chunked())(grid, Need.VALUE).value
    log_p = mixture.log_density(grid)
    log_q = mixture.domain.log_density(grid) - f
    log_q = log_q - torch.logsumexp(log_q, 0) - math.log(cell)
    return float((log_p.exp() * (log_p - log_q)).sum() * cell)


def test_a_measure_over_networks_learns_a_density_in_two_dimensions(registry: Registry) -> None:
    """Dual training unchanged: the divergence from the data's law, by quadrature, falls to less than half of its start."""
    e = from_tables(deep(), registry)
    built = build(e, registry)
    assert isinstance(e.data, Mixture)
    system, start = built.system, divergence(built, built.system, e.data)
    for _ in range(300):
        system = advance(built.dynamics, system)
    assert 0 < divergence(built, system, e.data) < 0.5 * start
