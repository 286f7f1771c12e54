"""Snapshots: a bounded sample at chosen steps, and what is read off it again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small import TABLES, Shell

from measureflow.api import Keyed, MeasureflowError, Registry, System, build, from_tables
from measureflow.core.measure import Particles
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.observers.snapshots import Snapshots, shares
from measureflow_tools.analysis.charts import chart_of
from measureflow_tools.analysis.clocks import PAIRS, cheap_clocks, own_times, pairs_per_step
from measureflow_tools.analysis.densities import mesh_of, student, teacher
from measureflow_tools.analysis.runs import labels, read, read_all
from measureflow_tools.analysis.snapshots import scaled_up, snapshots

SEEN = {**TABLES, "observers": ["checkpoint", {"kind": "snapshots", "atoms": 20, "at": [2]}]}


def recorded(shell: Shell, *settings: str, out: str = "run") -> Path:
    parts = [part for setting in settings for part in ("--set", setting)]
    said = shell("run", shell.write(tables=SEEN), "--out", out, "--quiet", *parts)
    assert said.code == 0, said
    return Path(out)


# When


def test_steps_are_spread_in_the_logarithm_and_bounded() -> None:
    steps = sorted(Snapshots(count=40, spacing="log").steps(10_000))
    assert steps[0] == 0
    assert steps[-1] == 10_000
    assert len(steps) <= 40
    late = np.array(steps[steps.index(max(s for s in steps if s < 100)) :], dtype=float)
    ratio = 10_000 ** (1 / 38)  # 39 steps from 1 to the last, each rounded by at most a half
    assert np.abs(late[1:] / late[:-1] - ratio).max() < ratio / late[0]


def test_by_default_early_steps_are_close_and_half_of_all_lie_beyond_a_quarter() -> None:
    steps = sorted(Snapshots(count=41).steps(1600))
    assert steps == [k * k for k in range(41)]
    assert len(Snapshots(count=41).steps(20)) == 21


def test_linear_steps_and_steps_by_name() -> None:
    assert sorted(Snapshots(count=5, spacing="linear", at=(3, 999)).steps(100)) == [0, 3, 25, 50, 75, 100]
    assert sorted(Snapshots().steps(0)) == [0]


# What


def test_the_sample_is_bounded_and_true(shell: Shell) -> None:
    folder = recorded(shell)
    names = sorted(path.name for path in (folder / "snapshots").iterdir())
    assert names == ["step-000000000.safetensors", "step-000000001.safetensors", "step-000000002.safetensors",
                     "step-000000003.safetensors", "still.safetensors"]  # fmt: skip
    last = load_file(folder / "snapshots" / names[3])
    full = load_file(sorted((folder / "checkpoints").glob("*.safetensors"))[-1])
    assert last["nu.points"].shape == (20, 3)
    rows = [round(k * 99 / 19) for k in range(20)]
    assert torch.equal(last["nu.points"], full["nu.points"][rows])
    assert torch.equal(last["gamma.points"], full["gamma.points"])
    assert load_file(folder / "snapshots" / "still.safetensors")["teacher.points"].shape == (1, 3)


def test_a_budget_keeps_fewer_atoms(shell: Shell) -> None:
    # Atoms of 5 float32: 20 of nu and 8 of gamma at 4 steps each, 20 of the data and of the test data and one teacher once
    folder = recorded(shell, f"observers.1.megabytes={(20 + 20 + 1 + 2 * 7 * 4) * 20e-6}")
    last, still = (load_file(folder / "snapshots" / f"{name}.safetensors") for name in ("step-000000003", "still"))
    assert [len(last[f"{name}.points"]) for name in ("nu", "gamma")] == [7, 7]
    assert [len(still[f"{name}.points"]) for name in ("data", "test", "teacher")] == [20, 20, 1]


def test_a_few_wide_atoms_do_not_cut_the_others(shell: Shell) -> None:
    """All that the run could save is 20 + 8 atoms at 4 steps, and 41 once: within the budget, whatever a row of gamma weighs."""
    folder = recorded(shell, f"observers.1.megabytes={((20 + 8) * 4 + 41) * 20e-6}")
    last = load_file(folder / "snapshots" / "step-000000003.safetensors")
    assert (len(last["nu.points"]), len(last["gamma.points"])) == (20, 8)
    networks = {"nu": 2000 * 4 * 16.0, "gamma": 8 * 4 * 4620.0, "data": 2000 * 16.0}
    assert shares(networks, sum(networks.values())) == networks


def test_a_budget_is_shared_evenly_and_used_up() -> None:
    assert shares({"wide": 90.0, "narrow": 5.0, "middle": 30.0}, 60.0) == {"narrow": 5.0, "middle": 27.5, "wide": 27.5}
    assert shares({"wide": 90.0, "narrow": 5.0}, 200.0) == {"narrow": 5.0, "wide": 90.0}


def test_a_resumed_run_leaves_the_same_snapshots(shell: Shell) -> None:
    whole, cut = recorded(shell, "steps=6", out="whole"), recorded(shell, "steps=3", out="cut")
    assert shell("resume", str(cut), "--steps", "6", "--quiet").code == 0
    for path in (whole / "snapshots").iterdir():
        once, again = load_file(path), load_file(cut / "snapshots" / path.name)
        assert once.keys() == again.keys()
        assert all(torch.equal(once[key], again[key]) for key in once), path.name


def test_they_are_read_as_systems(shell: Shell, registry: Registry) -> None:
    systems = snapshots(recorded(shell), registry)
    assert [system.step for system in systems] == [0, 1, 2, 3]
    assert systems[-1].time == pytest.approx(0.03)
    nu = systems[-1]["nu"]
    assert (nu.size, nu.whole, nu.domain.kind) == (20, 100, "sphere")
    assert float(scaled_up(nu).total) == pytest.approx(1.0, rel=1e-5)
    assert set(systems[0].measures) == {"nu", "gamma", "data", "test", "teacher"}


def test_what_is_missing_or_damaged_is_said(shell: Shell, registry: Registry) -> None:
    folder = recorded(shell)
    (folder / "snapshots" / "step-000000001.safetensors").write_bytes(b"no")
    with pytest.raises(MeasureflowError, match=r"step-000000001\.safetensors: cannot be read as a snapshot .* delete it"):
        snapshots(folder, registry)
    shutil.rmtree(folder / "snapshots")
    with pytest.raises(MeasureflowError, match=r"has no snapshots; add observers = .*'snapshots'"):
        snapshots(folder, registry)
    with pytest.raises(MeasureflowError, match="given twice"):
        read_all([folder, folder], registry)


# Clocks


def test_each_measure_has_its_own_time(shell: Shell, registry: Registry) -> None:
    rate = {"kind": "piecewise", "steps": [2], "values": [4.0, 2.0]}
    tables = {**SEEN, "metrics": [{"kind": "tv"}]}
    file = shell.write(
        {"measures.gamma.flows": [{"kind": "wfr", "rate": rate, "reaction": 0.5}, {"kind": "tv-ball", "radius": 5.0}]}, tables
    )
    assert shell("run", file, "--out", "run", "--quiet").code == 0
    run = read(Path("run"), registry)
    steps, _ = run.series("tv")
    clocks = cheap_clocks(run, steps) | {PAIRS: steps * pairs_per_step(run, registry)}
    assert np.allclose(clocks["particle time"], [0, 0.01, 0.02, 0.03])
    assert np.allclose(clocks["neuron time"], [0, 0.04, 0.08, 0.10])
    assert clocks["iterations"].tolist() == [0, 1, 2, 3]
    assert (np.diff(clocks["seconds"]) > 0).all()
    # gradients at 100 walkers of 8 neurons; at 8 neurons of 100 walkers and 50 data points
    assert clocks["pair interactions"].tolist() == [2000.0 * k for k in range(4)]


def test_a_measure_without_a_driving_flow_has_no_clock(shell: Shell, registry: Registry) -> None:
    folder = recorded(shell, "measures.gamma.flows=[{kind='tv-ball', radius=1.0}]")
    assert list(own_times(read(folder, registry), np.arange(3))) == ["particle time"]


def test_runs_are_named_as_briefly_as_tells_them_apart(shell: Shell, registry: Registry) -> None:
    for out in ("a/one", "a/two", "b/one"):
        recorded(shell, out=out)
    runs = read_all([Path("a/one"), Path("a/two")], registry)
    assert labels(runs) == ["one", "two"]
    assert labels(read_all([Path("a/one"), Path("b/one")], registry)) == ["a/one", "b/one"]


def test_a_missing_metric_is_said_with_those_there_are(shell: Shell, registry: Registry) -> None:
    with pytest.raises(MeasureflowError, match=r"unknown metric 'kll'.*did you mean 'kl'"):
        read(recorded(shell), registry).series("kll")


# Charts and densities


def planted(registry: Registry, neurons: object, **changes: object) -> dict[str, object]:
    weights = [-3.0] * len(neurons)  # type: ignore[arg-type]
    return {**TABLES, "data": {"kind": "teacher", "neurons": neurons, "weights": weights, "train": 400, "test": 10}, **changes}


@pytest.mark.parametrize(
    "neurons", [[[1.0, 0.0, 0.0]], [[0.0, 0.6, 0.8], [0.0, 1.0, 0.0]], [[0.6, 0.8]]], ids=["one", "two", "circle"]
)
def test_the_planted_density_is_that_of_the_closed_form(registry: Registry, neurons: list[list[float]]) -> None:
    built = build(from_tables(planted(registry, neurons), registry), registry)
    chart = chart_of(built.system, "nu")
    mesh = mesh_of(chart, built.system, 128)
    assert mesh is not None
    law = teacher(built, mesh)
    assert law is not None
    assert built.view.truth is not None
    f = sum(-3.0 / len(neurons) * (mesh.points @ torch.tensor(n, dtype=torch.float64)).clamp(min=0) for n in neurons)
    exact = torch.exp(-torch.as_tensor(f) - built.view.truth.log_z) / len(law)
    # midpoints of cells of size c err by c^2/24 |second derivative| <= c^2 (3 + 9)/24; float32 sums add rounding
    cell = 2 * np.pi / (256 if len(neurons[0]) == 3 else 512)
    assert float((law / exact).log().abs().max()) < cell**2 * 12 / 24 + 2e-5


def test_the_learned_density_is_the_planted_one_where_the_neurons_are(registry: Registry) -> None:
    built = build(from_tables(planted(registry, [[1.0, 0.0, 0.0]]), registry), registry)
    system = built.system.replace({"gamma": built.system["teacher"]})
    mesh = mesh_of(chart_of(system, "nu"), system, 16)
    assert mesh is not None
    left, right = teacher(built, mesh), student(built, system, mesh)
    assert left is not None
    assert right is not None
    assert torch.allclose(left, right, rtol=1e-6)


def test_no_density_from_a_part_of_uneven_neurons(registry: Registry) -> None:
    built = build(from_tables(planted(registry, [[1.0, 0.0, 0.0]]), registry), registry)
    mesh = mesh_of(chart_of(built.system, "nu"), built.system, 8)
    assert mesh is not None
    gamma = built.system["gamma"]
    half = gamma.block(0, 4)
    uneven = built.system.replace({"gamma": half.replace(log_mass=half.log_mass + torch.arange(4.0))})
    assert student(built, built.system.replace({"gamma": half}), mesh) is not None  # the first half has one sign and mass
    assert student(built, uneven, mesh) is None


def test_high_dimension_is_seen_in_the_plane_of_the_teacher(registry: Registry) -> None:
    neurons = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 2)))[0].T
    built = build(from_tables(planted(registry, neurons.tolist()), registry), registry)
    chart = chart_of(built.system, "nu")
    assert (chart.kind, chart.names) == ("projection", ("teacher's neuron 1", "teacher's neuron 2, orthogonal part"))
    assert torch.allclose(chart(torch.tensor(neurons)).abs(), torch.eye(2, dtype=torch.float64), atol=1e-9)
    assert mesh_of(chart, built.system) is None


def test_without_a_teacher_the_principal_axes_are_shown() -> None:
    points = Keyed(0).normal_rows(range(500), 5, torch.zeros(0, dtype=torch.float64), "x")
    scaled = points * torch.tensor([0.1, 5.0, 0.1, 0.1, 2.0], dtype=torch.float64)
    chart = chart_of(System({"data": Particles.uniform(scaled, Euclidean())}), "data")
    # the angle off an axis is about (small sd / large sd) / sqrt(n) for these standard deviations; five times that
    assert float(chart.axes[1, 0].abs()) > 1 - (5 * (2.0 / 5.0) / 500**0.5) ** 2
    assert float(chart.axes[4, 1].abs()) > 1 - (5 * (2.0 / 5.0) / 500**0.5) ** 2
    assert chart.names == ("principal axis 1", "principal axis 2")


def test_facts_of_a_snapshot_are_plain_data(shell: Shell) -> None:
    with safe_open(recorded(shell) / "snapshots" / "still.safetensors", framework="pt") as file:
        facts = json.loads(file.metadata()["measures"])
    assert facts["data"] == {"domain": {"kind": "sphere"}, "whole": 50}


def test_a_long_run_costs_no_memory_before_it_starts() -> None:
    assert len(Snapshots().steps(10**12)) <= 40


def test_a_network_of_many_parameters_is_projected_within_its_span() -> None:
    points = Keyed(0).normal_rows(range(3), 100_000, torch.zeros(0), "x")
    chart = chart_of(System({"gamma": Particles.uniform(points, Euclidean())}), "gamma")  # d x d would be 80 GB
    assert torch.allclose(chart.axes.T @ chart.axes, torch.eye(2, dtype=torch.float64), atol=1e-9)
    one = chart_of(System({"gamma": Particles.uniform(points[:1], Euclidean())}), "gamma")
    assert one.names == ("coordinate 1", "coordinate 2")
