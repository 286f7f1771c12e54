"""Dual training against its own theory: the optimum of the convex problem, and convergence in the number of particles."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.simulate import run
from measureflow.observe.observer import measured
from measureflow.plugins.registry import Registry
from measureflow.testing import normals
from measureflow_plugins.couplings.dual_ebm import DualEbm
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.tv_ball import TvBall
from measureflow_plugins.flows.wfr import Wfr
from measureflow_plugins.metrics.gap import Gap
from measureflow_plugins.schemes.sequential import Sequential

# The optimum


def circle(k: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def optimum(x: np.ndarray, price: float, neurons: int = 360, nodes: int = 2880) -> tuple[float, float, float]:
    """min P(gamma) + price TV(gamma) over signed measures on a grid of neurons by L-BFGS-B; P, TV and the duality gap there.

    Its solution is also that of min P under TV <= R for R the TV it has: so any engine run in that ball must stay above P.
    """
    theta = circle(neurons)
    A, b = np.maximum(circle(nodes) @ theta.T, 0), np.maximum(x @ theta.T, 0).mean(0)

    def value(c: np.ndarray) -> tuple[float, np.ndarray]:
        gamma = c[:neurons] - c[neurons:]
        f = A @ gamma
        weight = np.exp(-(f - f.min()))
        F = weight @ A / weight.sum() - b
        return b @ gamma + np.log(weight.mean()) - f.min() + price * c.sum(), np.concatenate([-F, F]) + price

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9}
    start, bounds = np.full(2 * neurons, 0.01), [(0, None)] * (2 * neurons)
    c = minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
    total, slope = value(c)
    R, F = c.sum(), price - slope[:neurons]
    return total - price * R, R, R * np.abs(F).max() - F @ (c[:neurons] - c[neurons:])


def primal(gamma: Particles, x: np.ndarray) -> float:
    """P(gamma) = mean f over the data + log Z on 20,000 nodes, in numpy."""
    theta, a = gamma.points.numpy(), gamma.mass.numpy()
    f = np.maximum(circle(20_000) @ theta.T, 0) @ a
    return float((np.maximum(x @ theta.T, 0) @ a).mean() + np.log(np.exp(-f).mean()))


def test_an_engine_run_reaches_the_optimum_of_a_convex_solver(registry: Registry) -> None:
    """Within 1% in value, never below by more than the solver's grid (|theta - grid|^2 ~ 1e-4), and inside its own certificate."""
    tables: dict[str, Any] = {
        "name": "optimum",
        "steps": 600,
        "step": 0.01,
        "dtype": "float64",
        "data": {"kind": "teacher", "neurons": {"angle": 2.4, "dim": 2}, "weights": [-6.0, -6.0], "train": 200},
        "measures": {
            "nu": {"init": {"kind": "uniform", "size": 4000}, "flows": [{"kind": "langevin", "method": "geodesic"}]},
            "gamma": {"init": {"kind": "uniform", "size": 48, "signs": "balanced"}, "flows": []},
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
    }
    x = build(from_tables(tables, registry), registry).system["data"].points.numpy()
    P, R, gap = optimum(x, price=0.02)
    assert 0 <= gap < 1e-5
    tables["measures"]["gamma"]["flows"] = [{"kind": "wfr", "rate": 10.0}, {"kind": "tv-ball", "radius": float(R)}]
    made = build(from_tables(tables, registry), registry)
    *_, last = run(made.dynamics, made.system, tables["steps"])
    excess = primal(last["gamma"], x) - P
    print(f"P* = {P:.5f} in the ball of R = {R:.3f}; the run is above by {excess / abs(P):.2%}")
    assert -1e-3 * abs(P) < excess < 0.01 * abs(P)
    certificate = measured(last, made.view, [Gap(radius=float(R), coordinates=0)])
    assert excess < certificate["gap"] + certificate["gap.error"]
    # gamma balances F of 4,000 walkers, not of Gibbs(gamma): R |F| within 4 standard errors, phi in [0, 1] spreading 1/2 at most
    assert certificate["gap"] < 4 * R * 0.5 / math.sqrt(4000)


# Propagation of chaos (Domingo-Enrich et al., Prop. 2)

STEPS, H = 20, 0.02
AT = torch.from_numpy(circle(100))
SIZES, SEEDS = (16, 64, 256), 32


def equidistant(k: int, total: float = 1.0) -> Particles:
    return Particles.uniform(torch.from_numpy(circle(k)), Sphere(), total)


def signed(points: torch.Tensor) -> Particles:
    """Both signs at independent points, the first half of them negative; TV 1."""
    gamma = Particles.uniform(points, Sphere())
    return gamma.replace(sign=torch.where(torch.arange(gamma.size) < gamma.size // 2, -1.0, 1.0).double())


def played(nu: Particles, gamma: Particles, seed: int) -> dict[str, torch.Tensor]:
    """f_gamma and F_nu on a grid after some steps of dual training on fixed data."""
    data = Particles.uniform(Sphere().sample(normals(50, 2, seed=3) + torch.tensor([1.5, 0.0])), Sphere())
    flows: dict[str, tuple[Flow, ...]] = {
        "nu": (Langevin(method="geodesic"),),
        "gamma": (Wfr(rate=10.0), TvBall(radius=5.0)),
    }
    dynamics = Dynamics(DualEbm(feature=Relu()), flows, H, Sequential(), seed=seed)
    start = System({"nu": nu, "gamma": gamma, "data": data})
    *_, last = run(dynamics, start, STEPS)
    return {
        "f": dynamics.coupling.energy(last, dynamics.reducer)(AT, Need.VALUE).value,
        "F": -dynamics.coupling.bind("gamma", last, dynamics.reducer)(AT, Need.VALUE).value,
    }


def rms(name: str, found: list[dict[str, torch.Tensor]], reference: dict[str, torch.Tensor]) -> float:
    """The root-mean-square error of f or of F over seeds and the grid."""
    return float(torch.stack([(e[name] - reference[name]).square().mean() for e in found]).mean().sqrt())


def slopes(errors: dict[int, list[dict[str, torch.Tensor]]], reference: dict[str, torch.Tensor]) -> dict[str, float]:
    """Slope of log root-mean-square error in log size, for f and for F."""
    return {
        name: float(np.polyfit(np.log(list(errors)), [math.log(rms(name, found, reference)) for found in errors.values()], 1)[0])
        for name in reference
    }


def test_propagation_of_chaos_in_the_number_of_neurons() -> None:
    """Against both signs on 1,024 equidistant neurons, walkers and their noise the same throughout: m^-1/2.

    The root-mean-square of 32 seeds of 2 or 3 degrees of freedom is within 9%, the slope over a factor 16 within .03.
    """
    nu, grid = equidistant(200), circle(512)
    reference = played(nu, signed(torch.from_numpy(np.concatenate([grid, grid]))), 0)
    errors = {m: [played(nu, signed(Sphere().sample(normals(m, 2, seed=10 + s))), 0) for s in range(SEEDS)] for m in SIZES}
    found = slopes(errors, reference)
    print(found)
    assert all(-0.6 < slope < -0.4 for slope in found.values())


def test_propagation_of_chaos_in_the_number_of_walkers() -> None:
    """Against 60,000 walkers of another seed, the neurons' start the same throughout: N^-1/2.

    sqrt(N) times the error is constant within 50 %: three standard errors of a ratio, each side known to 9 % from its seeds, and
    a tenth by which the exponential reaction makes the error of 16 walkers larger than its leading order.
    """
    gamma = signed(Sphere().sample(normals(16, 2, seed=5)))

    def walkers(N: int, seed: int) -> Particles:
        return Particles.uniform(Sphere().sample(normals(N, 2, seed=seed)), Sphere())

    reference = played(walkers(60_000, 9), gamma, 999)
    errors = {N: [played(walkers(N, 50 + s), gamma, s) for s in range(SEEDS)] for N in (16, 64, 256, 1024)}
    found = slopes(errors, reference)
    print(found)
    assert all(-0.6 < slope < -0.4 for slope in found.values())
    for name in reference:
        scaled = [math.sqrt(N) * rms(name, errors[N], reference) for N in errors]
        print(name, scaled)
        assert max(scaled) < 1.5 * min(scaled)


@pytest.mark.slow
def test_propagation_of_chaos_in_both_at_once() -> None:
    """m = N, both drawn afresh, on three times the seeds and sizes up to 1,024, from a reference of 4,096 neurons: size^-1/2."""

    def start(k: int, seed: int) -> tuple[Particles, Particles]:
        return Particles.uniform(Sphere().sample(normals(k, 2, seed=seed)), Sphere()), signed(
            Sphere().sample(normals(k, 2, seed=seed + 1))
        )

    grid = circle(2048)
    reference = played(
        Particles.uniform(torch.from_numpy(circle(40_000)), Sphere()), signed(torch.from_numpy(np.concatenate([grid, grid]))), 9
    )
    errors = {k: [played(*start(k, 2 * s + 100), s) for s in range(3 * SEEDS)] for k in (16, 64, 256, 1024)}
    found = slopes(errors, reference)
    print(found)
    assert all(-0.6 < slope < -0.4 for slope in found.values())
