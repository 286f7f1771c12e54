"""Planted worlds: exact samples, log Z, energy means and the proved bound, against quadrature and brute force."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from measureflow.core.measure import Need
from measureflow.core.noise import Keyed
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, World
from measureflow.reduction.chunked import Chunked
from measureflow_plugins.sources._planted import Planted
from measureflow_plugins.sources.teacher import Teacher

EXACT = {"monomodal": (1.9649, -3.0942, 1.552), "bimodal": (1.3853, -1.7666, 0.908)}  # log Z, mean, deviation; MATH section 7


def world(**fields: Any) -> World:
    return Teacher(**fields).world(Setting(Keyed(0), torch.float64, torch.device("cpu")))


@pytest.mark.parametrize("neurons", ["monomodal", "bimodal"])
def test_paper_teachers(neurons: str) -> None:
    n = 100_000
    made = world(neurons=neurons, weights=(-10.0, -10.0), train=n)
    log_z, mean, deviation = EXACT[neurons]
    assert made.truth is not None
    assert made.truth.log_z == pytest.approx(log_z, abs=0.002)
    assert made.truth.energy_mean == pytest.approx(mean, abs=0.0005)
    data = made.measures["data"]
    f = Chunked().field(made.truth.feature, data.points, made.measures["teacher"], Need.VALUE).value
    assert abs(float(f.mean()) - mean) < 4 * deviation / math.sqrt(n)
    assert float(f.std()) == pytest.approx(deviation, rel=0.02)
    assert float(f.min()) >= made.truth.lower_bound - 1e-9
    torch.testing.assert_close(data.points.norm(dim=1), torch.ones(n, dtype=torch.float64))


@pytest.mark.parametrize(
    ("neurons", "weights"),
    [
        ({"angle": 1.0, "dim": 2}, (-3.0, -2.0)),
        ({"angle": 2.5, "dim": 3}, (-4.0, 1.5)),
        ([[1.0, 0, 0]], (-3.0,)),
        ([[1.0, 0, 0, 0, 0]], (2.0,)),
        ([[1.0, 0, 0], [0, 1.0, 0], [0, 0.6, 0.8]], (-3.0, -3.0, -2.0)),
        ([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0.6, 0.8, 0, 0]], (-2.0, -2.0, 1.0)),  # three neurons in a plane
        ([[1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0], [0, 0.6, 0.8, 0, 0, 0]], (-3.0, -3.0, -2.0)),
    ],
)
def test_samples_and_log_z_against_brute_force_in_all_d_coordinates(neurons: Any, weights: tuple[float, ...]) -> None:
    n, many = 40_000, 1_000_000
    made = world(neurons=neurons, weights=weights, train=n)
    assert made.truth is not None
    data, teacher = made.measures["data"], made.measures["teacher"]
    rng = np.random.default_rng(5)
    uniform = torch.from_numpy(rng.standard_normal((many, data.dim)))
    uniform /= uniform.norm(dim=1, keepdim=True)
    f = Chunked().field(made.truth.feature, uniform, teacher, Need.VALUE).value
    w = (-f).exp()
    assert abs(made.truth.log_z - float(w.mean().log())) < 5 * float(w.std() / w.mean()) / math.sqrt(many) + 1e-3
    for moment in (lambda x: x, lambda x: x**2):
        exact = (moment(uniform) * w[:, None]).mean(0) / w.mean()
        spread = moment(data.points).std(0) / math.sqrt(n) + 2 * (moment(uniform) * w[:, None]).std(0) / w.mean() / math.sqrt(many)
        assert bool(((moment(data.points).mean(0) - exact).abs() < 5 * spread).all())
    assert float(f.min()) >= made.truth.lower_bound - 1e-9
    if all(a < 0 for a in weights):
        assert float(f.min()) - made.truth.lower_bound < 0.05 * abs(made.truth.lower_bound)  # the bound is attained


def test_named_angles() -> None:
    for name, angle in (
        ("monomodal", 1.3693),
        ("bimodal", 2.8650),
        ("sphere-146", math.radians(146.2)),
        ("sphere-90", math.radians(90.2)),
    ):
        first, second = np.array(Teacher(neurons=name, weights=(-1.0, -1.0), train=1).neurons)
        assert math.acos(first @ second) == pytest.approx(angle, abs=1e-3)


def test_refuses_what_rejection_cannot_reach() -> None:
    with pytest.raises(MeasureflowError, match=r"data\.weights: exact sampling would accept 1?\d?\.?\d*e-\d+ of its proposals"):
        world(neurons="monomodal", weights=(-400.0, -400.0), train=10)


def test_another_seed_gives_other_samples_and_the_same_seed_the_same() -> None:
    make = Teacher(neurons="bimodal", weights=(-2.0, -2.0), train=5, test=5)
    first, again, other = (
        make.world(Setting(Keyed(seed), torch.float64, torch.device("cpu"))).measures["data"].points for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_lower_bound_is_the_minimum_for_two_negative_neurons() -> None:
    """min f* = -5 max(|theta1 + theta2|, 1) for weights -10 (MATH section 7)."""
    for angle in (0.5, 1.3693, 2.2, 2.865):
        theta = np.array([[1.0, 0.0], [math.cos(angle), math.sin(angle)]])
        bound = Planted(theta, np.array([-10.0, -10.0])).lower_bound
        assert bound == pytest.approx(-5 * max(float(np.linalg.norm(theta.sum(0))), 1.0))
