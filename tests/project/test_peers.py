"""What the benchmarks hold the engine against takes the engine's own step, given the same normals."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from measureflow.api import Built, Keyed, Registry, advance

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))  # last: both folders have a test_reducers

import itertools

import dual
import peers
import reductions
import test_mmd
from peers import mmd


@pytest.fixture
def start(registry: Registry) -> Built:
    """Neurons that start outside the ball of total variation, so that every part of a step is at work."""
    return dual.built(registry, 60, m=10, tv=12.0, dtype="float64")


@pytest.fixture
def wanted(start: Built) -> list[torch.Tensor]:
    """(X, theta, w) after one step of the engine."""
    after = advance(start.dynamics, start.system)
    gamma = after["gamma"]
    assert float(gamma.log_mass.exp().sum()) == pytest.approx(10)
    return [after["nu"].points, gamma.points, gamma.size * gamma.log_mass.exp()]


def problem(start: Built) -> Any:
    """The start with the normals that the engine draws in its first step."""
    nu = start.system["nu"]
    return dual.problem(start.system, Keyed(0).at("nu", 0).at(0).antithetic(nu)[: nu.size // 2])


def step(steps: Iterator[Any]) -> list[torch.Tensor]:
    return [part if isinstance(part, torch.Tensor) else torch.from_numpy(np.array(part)) for part in next(steps)]


def needed(name: str) -> None:
    """Skips the test by name where the peer is not installed."""
    if said := peers.absent(name):
        pytest.skip(said)


@pytest.mark.parametrize("name", ["bare", "dense", "autograd", "keops"])
def test_a_torch_peer_takes_the_engines_step(name: str, start: Built, wanted: list[torch.Tensor]) -> None:
    steps = importlib.import_module("bare").steps(problem(start)) if name == "bare" else peers.steps(name, problem(start))
    for got, expected in zip(step(steps), wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_jax_takes_the_engines_step(start: Built, wanted: list[torch.Tensor]) -> None:
    needed("jax")
    import jax

    before = start.system["nu"].points.clone()
    with jax.enable_x64(True):
        got = step(peers.steps("jax", problem(start)))
    for mine, expected in zip(got, wanted, strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)
    assert torch.equal(start.system["nu"].points, before), "what JAX is given must be a copy: it is donated"


def test_jax_draws_afresh_at_every_step(start: Built) -> None:
    needed("jax")
    steps = peers.steps("jax", dual.problem(start.system))
    X = [start.system["nu"].points.numpy(), *(np.array(next(steps)[0]) for _ in range(2))]
    moves = [after - before for before, after in itertools.pairwise(X)]
    assert abs(np.corrcoef(moves[0].ravel(), moves[1].ravel())[0, 1]) < 0.1
    N = len(X[0])
    assert np.corrcoef(moves[0][: N // 2].ravel(), moves[0][N // 2 :].ravel())[0, 1] < -0.9


def test_torchebm_has_the_same_energy_and_as_many_chains(start: Built) -> None:
    """Its step without noise is the gradient of the engine's energy; its chains and neurons move and stay finite."""
    needed("torchebm")
    from peers import dense, torchebm

    given = dual.problem(start.system)
    masses = given.s * given.w / len(given.w)
    model = torchebm.Neurons(given)
    torch.testing.assert_close(model.gradient(given.X), dense.slope(given.X, given.theta, masses), rtol=0, atol=1e-12)
    for before, after in zip((given.X, given.theta, given.w), step(torchebm.steps(given)), strict=True):
        assert after.shape == before.shape
        assert torch.isfinite(after).all()
        assert not torch.equal(after, before)


@pytest.mark.parametrize("feature", ["relu", "gaussian"])
def test_every_way_of_a_sum_gives_the_same(feature: str, registry: Registry) -> None:
    case = reductions.Case(40, 30, 3, feature)
    works = reductions.ways(case, registry, torch.device("cpu"), torch.float32)
    wanted = works["chunked"]()
    assert {"chunked", "keops", "dense"} <= works.keys()
    for name, work in works.items():
        got = torch.from_numpy(np.array(work())) if name == "jax" else work()
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6, msg=lambda said, name=name: f"{name}: {said}")


def test_the_plain_mmd_flow_takes_the_engines_step(registry: Registry) -> None:
    start = test_mmd.built(registry, 40, dtype="float64")
    system = advance(start.dynamics, start.system)
    moving = mmd.steps(start.system["nu"].points, start.system["data"].points, test_mmd.STEP, test_mmd.LENGTH)
    torch.testing.assert_close(next(moving), system["nu"].points, rtol=0, atol=1e-12)
    assert float((system["nu"].points - start.system["nu"].points).abs().max()) > 1e-3
