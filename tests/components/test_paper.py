"""The paper's experiments at their own size: how fast dual and primal training learn."""

from typing import Any

import pytest

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.dynamics.simulate import run
from measureflow.observe.observer import measured
from measureflow.plugins.registry import Registry
from measureflow_plugins.metrics.kl import Kl
from measureflow_plugins.metrics.tv import Tv


def tables(neurons: str, h: float, rate: float, steps: int, seed: int, order: str = "sequential", p: float = 0.0) -> dict[str, Any]:
    nu = [{"kind": "restart", "probability": p}, {"kind": "langevin", "noise": "antithetic"}]
    return {
        "name": "paper",
        "seed": seed,
        "steps": steps,
        "step": h,
        "order": order,
        "data": {"kind": "teacher", "neurons": neurons, "weights": [-10.0, -10.0], "train": 10_000, "test": 20_000},
        "measures": {
            "nu": {"init": {"kind": "data", "copies": 2}, "flows": nu},
            "gamma": {
                "init": {"kind": "uniform", "size": 64, "signs": "balanced"},
                "flows": [{"kind": "wfr", "rate": rate}, {"kind": "tv-ball", "radius": 10.0}],
            },
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
    }


def reached(registry: Registry, config: dict[str, Any], level: float, every: int = 50) -> int | None:
    """The first multiple of `every` steps at which KL is at most `level`, or None."""
    built = build(from_tables(config, registry), registry)
    for system in run(built.dynamics, built.system, config["steps"]):
        if system.step % every == 0 and measured(system, built.view, [Kl()])["kl"] <= level:
            return system.step
    return None


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_everyone_restarted_every_step_still_learns(registry: Registry, order: str) -> None:
    config = tables("monomodal", 0.02, 10.0, 200, 0, order, 1.0)
    config["data"] |= {"test": 0}
    built = build(from_tables(config, registry), registry)
    *_, last = run(built.dynamics, built.system, 200)
    assert measured(last, built.view, [Tv()])["tv"] > 2.5


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("neurons", "steps"), [("monomodal", 1000), ("bimodal", 3500)])
def test_dual_settings_reach_kl_05(registry: Registry, neurons: str, steps: int, seed: int) -> None:
    step = reached(registry, tables(neurons, 0.001, 20.0, steps, seed), 0.05)
    print(f"{neurons}, seed {seed}: dual reaches KL .05 at step {step}")
    assert step is not None


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("neurons", ["monomodal", "bimodal"])
def test_primal_settings_do_not_reach_kl_05_in_ten_thousand_steps(registry: Registry, neurons: str, seed: int) -> None:
    step = reached(registry, tables(neurons, 0.02, 0.05, 10_000, seed), 0.05, 100)
    print(f"{neurons}, seed {seed}: primal reaches KL .05 at step {step}")
    assert step is None
