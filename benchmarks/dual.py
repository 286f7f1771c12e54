"""Algorithm 1 with dual settings: as tables for the engine, and as plain tensors for the peers, from one start."""

from collections.abc import Iterator
from typing import Any

from peers.problem import RADIUS, Problem
from side_by_side import DEVICE
from torch import Tensor

from measureflow.api import Built, Dynamics, Registry, System, advance, build, from_tables

M, D = 64, 15
STEP, RATE = 0.001, 20.0


def tables(n: int, m: int = M, tv: float = 1.0, **other: Any) -> dict[str, Any]:
    """n data points, N = 2n walkers, m neurons in d = 15; `tv` is the neurons' total variation at the start."""
    return {
        "name": "step",
        "device": str(DEVICE),
        "steps": 1,
        "step": STEP,
        "data": {"kind": "teacher", "neurons": "bimodal", "weights": [-10.0, -10.0], "train": n},
        "measures": {
            "nu": {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "noise": "antithetic"}]},
            "gamma": {
                "init": {"kind": "uniform", "size": m, "signs": "balanced", "tv": tv},
                "flows": [{"kind": "wfr", "rate": RATE}, {"kind": "tv-ball", "radius": RADIUS}],
            },
        },
        "coupling": {"kind": "dual-ebm", "feature": "relu"},
        **other,
    }


def built(registry: Registry, n: int, **other: Any) -> Built:
    """The experiment of these tables, ready to run."""
    return build(from_tables(tables(n, **other), registry), registry)


def problem(system: System, half: Tensor | None = None) -> Problem:
    """The same start for a peer."""
    gamma = system["gamma"]
    w = gamma.size * gamma.log_mass.exp()
    return Problem(system["nu"].points, gamma.points, gamma.sign.clone(), w, system["data"].points, STEP, RATE, half)


def steps(dynamics: Dynamics, system: System) -> Iterator[System]:
    """The engine's steps: each `next` is one more."""
    while True:
        system = advance(dynamics, system)
        yield system
