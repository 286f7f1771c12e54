"""The engine is Algorithm 1: against an independent transcription, the authors' own run, and finite differences."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from algorithm1 import Algorithm1

from measureflow.config.build import Built, build
from measureflow.config.validate import from_tables
from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.simulate import advance
from measureflow.observe.metric import View
from measureflow.observe.observer import measured
from measureflow.observe.source import Truth
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.metrics.kl import Kl
from measureflow_plugins.metrics.score import Score
from measureflow_plugins.metrics.tv import Tv

METRICS = (Kl(), Score(), Tv())


def tables(order: str, restart: dict[str, Any], noise: str, **other: Any) -> dict[str, Any]:
    return {
        "name": "algorithm1",
        "seed": 3,
        "steps": 100,
        "step": 0.02,
        "order": order,
        "dtype": "float64",
        "reducer": {"kind": "chunked", "tile": 500},
        "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": 90, "test": 150},
        "measures": {
            "nu": {
                "init": {"kind": "data", "copies": 2},
                "flows": [{"kind": "restart", **restart}, {"kind": "langevin", "noise": noise}],
            },
            "gamma": {
                "init": {"kind": "uniform", "size": 10, "signs": "balanced"},
                "flows": [{"kind": "wfr", "rate": 10.0}, {"kind": "tv-ball", "radius": 2.0}],
            },
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
        **other,
    }


def draws(built: Built, system: System, restart: dict[str, Any], noise: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The numbers that the engine will draw in its next step, by their keys."""
    nu, n = system["nu"], system["data"].size
    at = Keyed(3).at("nu", system.step)
    p = 1.0 if restart.get("every") and system.step % restart["every"] == 0 else restart.get("probability", 0.0)
    who = at.at(0).uniform(nu, "who") < p
    where = torch.arange(nu.size) % n if restart.get("to") == "own" else at.at(0).index(nu, n, "where")
    zeta = at.at(1).antithetic(nu) if noise == "antithetic" else at.at(1).normal(nu)
    return who, where, zeta


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
@pytest.mark.parametrize("noise", ["plain", "antithetic"])
@pytest.mark.parametrize(
    "restart", [{}, {"probability": 0.1}, {"probability": 1.0}, {"every": 7, "to": "own"}, {"probability": 0.3, "to": "own"}]
)
def test_engine_equals_transcription(registry: Registry, order: str, noise: str, restart: dict[str, Any]) -> None:
    built = build(from_tables(tables(order, restart, noise), registry), registry)
    system, test, teacher = built.system, built.system["test"].points, built.system["teacher"].points
    gamma, a = system["gamma"], torch.tensor([-10.0, -10.0], dtype=torch.float64)
    weights = 10 * gamma.log_mass.exp()
    plain = Algorithm1(
        system["nu"].points, gamma.points, gamma.sign, weights, system["data"].points, 0.02, 10.0, 2.0, order == "sequential"
    )
    bound = 0
    for _ in range(100):
        who, where, zeta = draws(built, system, restart, noise)
        plain.step(who, where, zeta)
        system = advance(built.dynamics, system)
        bound += float(plain.w.mean()) > 2 - 1e-12
        for got, wanted in (
            (system["nu"].points, plain.X),
            (system["gamma"].points, plain.theta),
            (10 * system["gamma"].log_mass.exp(), plain.w),
        ):
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)
    row = measured(system, built.view, METRICS)
    wanted_row = {"kl": plain.kl(test, teacher, a), "score": plain.score(test, teacher, a), "tv": float(plain.w.mean())}
    assert row == pytest.approx(wanted_row, abs=1e-10)
    assert bound > 0 or restart, "the TV bound must have been at work"


def _authors(folder: Path) -> tuple[System, Truth, dict[int, dict[str, float]]]:
    if not (folder / "bimodal.npz").exists():
        pytest.skip("../shared/data/authors is absent")
    arrays = {name: torch.from_numpy(array).float() for name, array in np.load(folder / "bimodal.npz").items()}
    with (folder / "bimodal_hx0.02_hz0.2.csv").open() as file:
        reference = {int(row["iteration"]): {k: float(row[k]) for k in ("kl", "score", "tv")} for row in csv.DictReader(file)}
    sphere = Sphere()
    m = len(arrays["theta0"])
    sign = torch.cat([-torch.ones(m // 2), torch.ones(m - m // 2)])
    teacher = torch.full((2,), 10.0 / 2)
    system = System(
        {
            "data": Particles.uniform(sphere.project(arrays["data"]), sphere),
            "test": Particles.uniform(sphere.project(arrays["test"]), sphere),
            "teacher": Particles(sphere.project(arrays["teacher"]), -torch.ones(2), teacher.log(), sphere),
            "nu": Particles.uniform(sphere.project(arrays["data"].repeat(2, 1)), sphere),
            "gamma": Particles(sphere.project(arrays["theta0"]), sign, torch.full((m,), 1 / m).log(), sphere),
        }
    )
    return system, Truth(Relu(), 0.0, 0.0, 0.0), reference


@pytest.mark.shared
def test_follows_the_authors_own_run(registry: Registry, shared: Path) -> None:
    system, truth, reference = _authors(shared / "data" / "authors")
    config = tables("sequential", {}, "antithetic", dtype="float32", reducer="auto")
    config["measures"]["gamma"]["flows"][1]["radius"] = 10.0
    dynamics = build(from_tables(config, registry), registry).dynamics
    view = View(dynamics.coupling, Chunked(), Keyed(0), truth)
    errors = []
    for step in range(1, max(reference) + 1):
        system = advance(dynamics, system)
        if step in reference:
            row = measured(system, view, METRICS)
            errors += [abs(row[name] / value - 1) for name, value in reference[step].items()]
    assert len(errors) == 3 * len(reference)
    assert max(errors) < 0.05
