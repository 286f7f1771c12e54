"""Experiments made of Python objects, without a registry and a file, against the same experiments written in TOML."""

from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from measureflow.api import Dynamics, Keyed, Need, Particles, Registry, Space, System, build, load, run, simulate
from measureflow.config import structure as config
from measureflow.dynamics.flow import Flow
from measureflow.errors import ConfigError, MeasureflowError, NonFiniteError
from measureflow.reduction.chunked import Chunked
from measureflow_plugins import (
    ArcCosine,
    Average,
    BirthDeath,
    Denoising,
    DualEbm,
    Euclidean,
    Extragradient,
    Fourier,
    Gaussian,
    Gibbs,
    KineticLangevin,
    Langevin,
    Minibatch,
    Mmd,
    MmdBall,
    Optimistic,
    Regression,
    Relu,
    ReluAffine,
    ScoreMatching,
    Sphere,
    Sum,
    TvBall,
    TwoPlayers,
    Wasserstein,
    Wfr,
)
from measureflow_plugins.couplings import _function
from measureflow_plugins.couplings._function import Differentiated
from measureflow_plugins.couplings._known import DoubleWell
from measureflow_plugins.metrics.mass import Mass
from measureflow_plugins.metrics.objective import Objective

ROOT = Path(__file__).resolve().parents[2]


def wells(x: Tensor) -> Tensor:
    return (x**2 - 1).square().sum(1)


def test_an_energy_of_ones_own_is_sampled() -> None:
    nu = Particles.uniform(torch.randn(4000, 2, generator=torch.Generator().manual_seed(0)), Euclidean())
    dynamics = Dynamics(Gibbs(energy=wells), {"nu": [Langevin(method="metropolis")]}, step_size=0.02, seed=0)
    for system in simulate(dynamics, {"nu": nu}, steps=200):
        assert bool(system["nu"].points.isfinite().all())
    x = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    law = torch.exp(-((x**2 - 1) ** 2))
    law /= law.sum()
    second, fourth = ((law * x**k).sum() for k in (2, 4))
    found = system["nu"].points.square().mean(0).double()
    error = ((fourth - second**2) / 4000) ** 0.5  # of 4000 independent walkers, whose steps leave the law as it is
    assert system.step == 200
    assert bool(((found - second).abs() < 4 * error).all())


def test_an_ebm_is_trained_on_a_tensor() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 2, generator=generator) * 0.5 + torch.tensor([2.0, 0.0])
    plane, phi = Euclidean(base="gaussian", variance=4.0), ReluAffine()
    space = phi.parameter_space(Space(plane, 2))
    theta = space.domain.sample(torch.randn(64, space.dim, generator=generator))
    data, gamma = Particles.uniform(x, plane), Particles.uniform(theta, space.domain, negative=32)
    flows = {"nu": [Langevin()], "gamma": [Wfr(rate=20.0), TvBall(radius=20.0)]}
    dynamics = Dynamics(DualEbm(phi), flows, step_size=0.02)
    *_, system = simulate(dynamics, {"nu": data, "gamma": gamma, "data": data}, steps=100)
    energy = dynamics.coupling.energy(system, dynamics.reducer)
    at = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    near, far = energy(at, Need.VALUE).value.tolist()
    assert near < far - 1.0, "the model holds what is near the data for likelier by a factor of e at least"


# --- the same experiment in TOML and in Python ---

TORUS = "{kind='game', feature={kind='fourier', waves=6, highest=2, seed=0}}"  # the game of game-torus.toml
CASES: dict[str, tuple[str, tuple[str, ...], Dynamics]] = {
    "dual-ebm": (
        "minibatch",
        ("data.train=300", "data.test=10", "order.batch=100"),
        Dynamics(
            DualEbm(Relu()), {"nu": [Langevin()], "gamma": [Wfr(rate=20.0), TvBall(radius=10.0)]}, 0.001, Minibatch(batch=100)
        ),
    ),
    "denoising": (
        "denoising",
        ("data.train=200", "data.test=10"),
        Dynamics(
            Denoising(Gaussian(length=0.7), noise=0.3, copies=2, draw="every-step"),
            {"gamma": [Wfr(), TvBall(radius=20.0)]},
            0.02,
        ),
    ),
    "mmd-ball": (
        "f2-mmd-ball",
        ("data.test=10",),
        Dynamics(MmdBall(ArcCosine(dim=3), radius=10.0), {"nu": [Langevin(noise="antithetic", method="geodesic")]}, 0.01),
    ),
    "mmd": (
        "mmd-flow-noisy",
        ("data.test=10",),
        Dynamics(Mmd(ArcCosine(dim=3), penalty=0.002), {"nu": [Langevin(method="geodesic")]}, 0.01),
    ),
    "game": (
        "game-torus",
        (),
        Dynamics(
            TwoPlayers(Fourier(waves=6, highest=2, seed=0)),
            dict.fromkeys(("mu", "nu"), (Wfr(rate=1.0, transport=0.1, conserve=True), Average(slots=32))),
            0.2,
            Extragradient(),
        ),
    ),
    "gibbs": (
        "kinetic-langevin",
        ("measures.nu.init.size=200",),
        Dynamics(Gibbs(energy="von-mises-fisher", strength=5.0), {"nu": KineticLangevin(friction=1.0)}, 0.1),
    ),
    "score-matching": (
        "score-matching",
        ("data.train=200", "data.test=10", "order='optimistic'", "measures.gamma.flows=['wasserstein']"),
        Dynamics(ScoreMatching(Relu(power=3)), {"gamma": [Wasserstein()]}, 0.002, Optimistic()),
    ),
    "regression": (
        "regression-birth-death",
        ("data.train=200", "data.test=10"),
        Dynamics(Regression(Relu()), {"gamma": [Wasserstein(rate=10.0), BirthDeath(rate=10.0)]}, 0.1),
    ),
    "sum": (
        "game-torus",
        (
            "coupling={kind='sum', couplings=[{kind='game', feature={kind='fourier', waves=6, highest=2, seed=0}}], weights=[2.0]}",
            "order='sequential'",
        ),
        Dynamics(
            Sum((TwoPlayers(Fourier(waves=6, highest=2, seed=0)),), (2.0,)),
            dict.fromkeys(("mu", "nu"), (Wfr(rate=1.0, transport=0.1, conserve=True), Average(slots=32))),
            0.2,
        ),
    ),
}


def test_every_coupling_has_its_case(registry: Registry) -> None:
    assert sorted(CASES) == sorted(registry.kinds("coupling"))


@pytest.mark.parametrize("kind", CASES)
def test_objects_do_what_the_file_says(kind: str, registry: Registry) -> None:
    name, settings, dynamics = CASES[kind]
    fixed = ("steps=3", "seed=5", "reducer='chunked'", "metrics=[]", "device='cpu'")
    built = build(load(ROOT / "docs" / "examples" / f"{name}.toml", registry, (*fixed, *settings)), registry)
    assert built.dynamics.coupling.kind == kind
    kept = {"y"}  # the targets of a regression belong to the data
    start = {
        name: mu.replace(marks={key: mark for key, mark in mu.marks.items() if key in kept})
        for name, mu in built.system.measures.items()
    }
    *_, wanted = run(built.dynamics, built.system, 3)
    *_, found = simulate(attrs.evolve(dynamics, seed=5), start, steps=3)
    assert found.step == wanted.step == 3
    assert found.time == wanted.time
    for name, mu in wanted.measures.items():
        assert mu.tensors.keys() == found[name].tensors.keys()
        assert all(torch.equal(found[name].tensors[key], tensor) for key, tensor in mu.tensors.items()), name
    assert any(not torch.equal(start[name].points, found[name].points) for name in dynamics.flows)


# --- what simulate does besides ---


def cloud(n: int = 20, d: int = 2, dtype: torch.dtype = torch.float64) -> Particles:
    return Particles.uniform(torch.randn(n, d, generator=torch.Generator().manual_seed(1), dtype=dtype), Euclidean())


def gaussian(**flows: Flow) -> Dynamics:
    return Dynamics(Gibbs(energy="gaussian"), flows, 0.1)


def test_callbacks_get_the_metrics_at_due_steps() -> None:
    seen: list[tuple[int, dict[str, float]]] = []
    metrics = (Objective(), Mass(of="nu"))
    systems = simulate(
        gaussian(nu=Langevin()), {"nu": cloud()}, 7, metrics, [lambda system, row: seen.append((system.step, dict(row)))], every=3
    )
    assert [system.step for system in systems] == list(range(8))
    assert [step for step, _ in seen] == [0, 3, 6, 7]
    assert all({*row} == {name for metric in metrics for name in metric.names} for _, row in seen)
    assert seen[0][1]["objective"] == pytest.approx(float(cloud().points.square().sum(1).mean()) / 2, rel=1e-12)


def test_divergence_names_the_flow() -> None:
    dynamics = Dynamics(Gibbs(energy=lambda x: -x.square().sum(1)), {"nu": [Langevin(rate=50.0)]}, step_size=1.0)
    with pytest.raises(
        NonFiniteError, match=r"nu ran away at step \d+ .* in its flow 'langevin' \(measures.nu.flows.0\)"
    ) as caught:
        list(simulate(dynamics, {"nu": cloud()}, 100))
    assert isinstance(caught.value.last, System)


def test_a_simulation_continues_from_a_system() -> None:
    dynamics = gaussian(nu=KineticLangevin())
    whole = list(simulate(dynamics, {"nu": cloud()}, 6))
    rest = list(simulate(dynamics, whole[2], 6))
    assert [system.step for system in rest] == [2, 3, 4, 5, 6]
    assert all(torch.equal(rest[-1]["nu"].tensors[key], tensor) for key, tensor in whole[-1]["nu"].tensors.items())


def test_in_place_leaves_the_callers_points_alone() -> None:
    nu = cloud(140_000, 1, torch.float32)  # more than a block, so that points are overwritten
    before = nu.points.clone()
    list(simulate(attrs.evolve(gaussian(nu=Langevin()), in_place=True), {"nu": nu}, 1))
    assert torch.equal(nu.points, before)


@pytest.mark.parametrize(
    ("dynamics", "measures", "said"),
    [
        (gaussian(mu=Langevin()), {"nu": cloud()}, "moves unknown measure 'mu'; known: nu"),
        (gaussian(nu=Langevin()), {"mu": cloud()}, "flows: unknown measure 'nu'; known: mu"),
        (Dynamics(DualEbm(Relu()), {}, 0.1), {"nu": cloud(), "gamma": cloud()}, "needs unknown measure 'data'"),
        (gaussian(nu=Langevin()), {"nu": cloud(), "data": cloud(dtype=torch.float32)}, "nu: float64 on cpu, data: float32"),
        (attrs.evolve(gaussian(nu=Langevin()), scheme=Optimistic()), {"nu": cloud()}, "no gradient step"),
        (gaussian(nu=Langevin()), {"nu": cloud().replace(points=cloud().points / 0)}, "'nu'.: some of its numbers are not finite"),
    ],
)
def test_what_cannot_run_is_refused_before_the_first_step(dynamics: Dynamics, measures: dict[str, Particles], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        simulate(dynamics, measures, 1)


def test_dynamics_take_numbers_lists_and_a_seed() -> None:
    dynamics = gaussian(nu=Langevin())
    assert dynamics.step_size(7) == 0.1
    assert dynamics.flows == {"nu": (Langevin(),)}
    assert dynamics.noise == Keyed(0)
    assert attrs.evolve(dynamics, seed=3).noise == Keyed(3)
    with pytest.raises(ValueError, match="step_size"):
        Dynamics(Gibbs(energy=wells), {}, step_size=0.0)
    with pytest.raises(TypeError, match=r"flows\['nu'\]\[0\]: expected a flow"):
        Dynamics(Gibbs(energy=wells), {"nu": [Langevin]}, step_size=0.1)  # type: ignore[list-item]


def test_an_array_is_a_measure() -> None:
    points = np.arange(6.0).reshape(3, 2)
    mu = Particles.uniform(points, Euclidean(), total=6.0, negative=1)
    assert torch.equal(mu.points, torch.arange(6.0, dtype=torch.float64).reshape(3, 2))
    torch.testing.assert_close(mu.mass, torch.tensor([-2.0, 2.0, 2.0], dtype=torch.float64))
    assert Particles.uniform(points, Euclidean()).equal


# --- energies that are functions ---


def double_well(x: Tensor) -> Tensor:
    return (x[:, 0] ** 2 - 1) ** 2 + x[:, 1:].square().sum(1) / 2


def test_a_function_is_the_built_in_energy_of_that_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_function, "ROWS", 7)
    at, sizes = cloud(20, 3).points, []

    def noted(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return double_well(x)

    ours, theirs = Differentiated(noted)(at, Need.BOTH), DoubleWell()(at, Need.BOTH)
    assert sizes == [7, 7, 6], "one block of rows after the other"
    torch.testing.assert_close(ours.value, theirs.value, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)
    assert not ours.value.requires_grad
    assert Differentiated(double_well)(at, Need.VALUE).maybe_grad is None
    assert Differentiated(double_well)(at, Need.GRAD).maybe_value is None


def test_a_module_is_an_energy() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.SiLU(), torch.nn.Linear(5, 1)).double()
    at = cloud().points
    field = Gibbs(energy=module).energy(System({}), Chunked())(at, Need.BOTH)
    leaf = at.clone().requires_grad_()
    module(leaf).sum().backward()
    torch.testing.assert_close(field.grad, leaf.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(field.value, module(at).squeeze(1).detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("energy", "said"),
    [
        (lambda x: x, r"for points of shape \(20, 2\) it gave shape \(20, 2\); it must give \(20,\)"),
        (lambda x: 1.0, r"it gave 1.0; it must give \(20,\)"),
        (lambda x: x.detach().sum(1), "no gradient in x"),
    ],
)
def test_what_is_no_energy_says_why(energy: object, said: str) -> None:
    with pytest.raises(MeasureflowError, match=said):
        list(simulate(Dynamics(Gibbs(energy=energy), {"nu": Langevin()}, 0.1), {"nu": cloud()}, 1))


def test_a_config_names_an_energy_and_never_holds_code(registry: Registry) -> None:
    path = ROOT / "docs" / "examples" / "kinetic-langevin.toml"
    with pytest.raises(ConfigError, match=r"coupling\.energy: unknown energy 'os\.system'"):
        load(path, registry, ("coupling.energy='os.system'",))
    with pytest.raises(ConfigError, match=r"coupling\.energy: expected a string"):
        load(path, registry, ("coupling.energy=1",))
    with pytest.raises(MeasureflowError, match="cannot be written into a config"):
        config.unstructure(Gibbs(energy=wells))
    with pytest.raises(ValueError, match="strength"):
        Gibbs(energy=wells, strength=2.0)


def test_the_sphere_takes_functions_too() -> None:
    points = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(2)))
    dynamics = Dynamics(Gibbs(energy=lambda x: -3 * x[:, 0]), {"nu": [Wasserstein()]}, 0.1)
    *_, last = simulate(dynamics, {"nu": Particles.uniform(points, Sphere())}, 30)
    assert bool((last["nu"].points[:, 0] > points[:, 0]).all())
    torch.testing.assert_close(last["nu"].points.norm(dim=1), torch.ones(50))
