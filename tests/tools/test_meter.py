"""The error meter: one Brownian path at two steps, and estimates against what is known in closed form.

Tolerances are 5 standard errors of what is estimated, computed from the closed forms and not from the runs, unless said.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, final

import attrs
import pytest
import torch
from small import Shell
from torch import Tensor

from measureflow.config.build import build
from measureflow.config.experiment import Experiment
from measureflow.config.validate import from_tables
from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import run
from measureflow.errors import MeasureflowError, NonFiniteError
from measureflow.observe.metric import Metric, View
from measureflow.observe.observer import Every, Probe
from measureflow.plugins.registry import Registry
from measureflow.testing import Alone, Quadratic, normals
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.flows.average import Average
from measureflow_plugins.flows.kinetic_langevin import KineticLangevin
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.repeat import Repeat
from measureflow_plugins.flows.restart import Restart
from measureflow_plugins.inits.union import joined
from measureflow_plugins.schemes.sequential import Sequential
from measureflow_plugins.schemes.simultaneous import Simultaneous
from measureflow_plugins.schemes.substeps import Substeps
from measureflow_plugins.sources.bootstrap import resampled
from measureflow_tools.error_budget.coarse import Coarse
from measureflow_tools.error_budget.estimates import Estimate, deviation, of_atoms, of_data, of_step
from measureflow_tools.error_budget.meter import cost, metered, plan
from measureflow_tools.error_budget.runs import Rows, Run, ended, refined

ROOT = Path(__file__).resolve().parents[2]
LIKE = torch.empty(0, dtype=torch.float64)
SIMPLE = {
    "name": "simple", "steps": 8, "step": 0.1, "dtype": "float64", "reducer": "chunked", "observers": [],
    "data": {"kind": "mixture", "means": [[0.0]], "std": 1.5, "train": 50, "test": 30},
    "measures": {"nu": {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin"}]}},
    "coupling": {"kind": "gibbs", "energy": "gaussian"},
}  # fmt: skip


@final
@attrs.frozen
class Power(Metric):
    """The mean of x^p, raised to the power `outer`."""

    kind: ClassVar[str] = "power"
    p: int = 1
    outer: int = 1
    of: str = "nu"

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu = system[self.of]
        return {"power": (mu.mass * mu.points[:, 0] ** self.p).sum() ** self.outer}


def simple(registry: Registry, metric: Metric, **changes: Any) -> Experiment:
    return attrs.evolve(from_tables(SIMPLE | changes, registry), metrics=(Probe(metric, Every(1)),))


def parts(e: Experiment, registry: Registry, seeds: int, only: tuple[str, ...], resamples: int = 2) -> dict[str, Estimate]:
    """The estimates of the one metric, from the runs that they need and no others."""
    planned = [[one for one in seed if one.part in ("base", *only)] for seed in plan(e, seeds, resamples)]
    (found,) = metered(planned, lambda _, one: ended(one, registry, "test", lambda: None))
    return {part.part: part for part in found.parts}


def path(scheme: Scheme, flows: tuple[Flow, ...], V: Quadratic, h: float, steps: int, noise: Noise, n: int = 40) -> Particles:
    """Where n atoms of R^2, which start apart, are after the steps; "data" are other points."""
    start = marked(Particles.uniform(normals(n, 2), Euclidean()), flows, Keyed(3))
    data = Particles.uniform(normals(7, 2, seed=9), Euclidean())
    dynamics = Dynamics(Alone(V), {"mu": flows}, h, scheme, noise=noise)
    system = System({"mu": start.replace(marks={**start.marks, **scheme.marks(start)}), "data": data})
    *_, last = run(dynamics, system, steps)
    return last["mu"]


def bowl(k: float) -> Quadratic:
    return Quadratic(k * torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))


# One path


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("noise", ["plain", "antithetic"])
def test_without_a_potential_both_steps_end_where_the_path_does(parts: int, noise: Any) -> None:
    flows = (Langevin(noise=noise),)
    fine = path(Substeps(Sequential(), parts), flows, bowl(0), 0.1, 5, Keyed(0)).points
    coarse = path(Sequential(), flows, bowl(0), 0.1, 5, Coarse(Keyed(0), parts)).points
    assert torch.allclose(coarse, fine, rtol=0, atol=1e-13)
    assert float((fine - normals(40, 2)).std()) == pytest.approx(1, rel=5 / math.sqrt(2 * 40))  # 2 T t = 1, n independent pairs


def test_the_coarse_noise_is_normal_and_the_same_for_any_rows() -> None:
    n, noise = 100_000, Coarse(Keyed(0), 2).at("nu", 0, 0)
    z = noise.normal_rows(range(n), 1, LIKE, "")
    assert abs(float(z.var()) - 1) < 5 * math.sqrt(2 / n)
    assert torch.equal(noise.normal_rows(range(500, 3000), 1, LIKE, ""), z[500:3000])
    assert torch.equal(noise.paired_rows(range(500, 3000), 1, LIKE, ""), z[500:3000])
    assert torch.equal(
        noise.uniform_rows(range(9), LIKE, "u"), Keyed(0).at("part", 0, "nu", 0, 0).uniform_rows(range(9), LIKE, "u")
    )


def test_strong_order_one() -> None:
    """Euler's strong error with additive noise is C h: half the step, half the difference, up to the next power of h."""
    apart = []
    for h, steps in ((0.02, 50), (0.01, 100)):
        fine = path(Substeps(), (Langevin(),), bowl(1), h, steps, Keyed(0), 2000).points
        coarse = path(Sequential(), (Langevin(),), bowl(1), h, steps, Coarse(Keyed(0), 2), 2000).points
        apart.append(float((fine - coarse).square().mean().sqrt()))
    assert apart[0] / apart[1] == pytest.approx(2, rel=0.1)  # 2000 x 2 paths: 0.02 of noise, and h of the next order


def test_another_path_differs_far_more() -> None:
    fine = path(Substeps(), (Langevin(),), bowl(1), 0.05, 20, Keyed(0)).points
    coupled = path(Sequential(), (Langevin(),), bowl(1), 0.05, 20, Coarse(Keyed(0), 2)).points
    apart = path(Sequential(), (Langevin(),), bowl(1), 0.05, 20, Keyed(0)).points
    assert float((apart - fine).var()) > 100 * float((coupled - fine).var())


@pytest.mark.parametrize(
    "flows",
    [
        (Restart(probability=0.3), Langevin()),
        (Restart(every=2), Langevin()),
        (Repeat(2, Restart(probability=0.3)), Langevin()),
        (Langevin(), Restart(every=2, to="own")),
    ],
    ids=["probability", "every", "repeat", "last"],
)
def test_who_restarts_once_a_step_restarts_once_in_its_parts(flows: tuple[Flow, ...]) -> None:
    fine = path(Substeps(), flows, bowl(0), 0.1, 7, Keyed(0)).points
    coarse = path(Sequential(), flows, bowl(0), 0.1, 7, Coarse(Keyed(0), 2)).points
    assert torch.allclose(coarse, fine, rtol=0, atol=1e-13)


def test_a_restarted_momentum_is_the_same_one() -> None:
    """With friction 0 nothing else is random, and without a potential drifts are exact."""
    flows = (Restart(probability=0.4), KineticLangevin(friction=0.0))
    fine = path(Substeps(), flows, bowl(0), 0.1, 7, Keyed(0))
    coarse = path(Sequential(), flows, bowl(0), 0.1, 7, Coarse(Keyed(0), 2))
    assert torch.allclose(coarse.points, fine.points, rtol=0, atol=1e-13)


def test_a_time_average_counts_whole_steps() -> None:
    mu = path(Substeps(), (Langevin(), Average()), bowl(1), 0.1, 7, Keyed(0))
    assert torch.allclose(mu.marks["average.mass"].sum(1), torch.full((40,), 7 / 40, dtype=torch.float64))


def test_a_step_that_is_cut_already_is_cut_within_its_parts() -> None:
    order = Substeps(Simultaneous(), 3)
    fine = path(refined(order), (Langevin(),), bowl(1), 0.06, 20, Keyed(0)).points
    coarse = path(order, (Langevin(),), bowl(1), 0.06, 20, Coarse(Keyed(0), 2)).points
    assert refined(order) == Substeps(Substeps(Simultaneous(), 2), 3)
    assert float((fine - coarse).square().mean().sqrt()) < 0.01  # h/2 = 0.01 would be the strong error of a step of 0.02


def test_parts_are_steps_of_the_inner_scheme() -> None:
    """Without noise, k parts of h/k are k steps; marks, in_place and objections are the inner scheme's."""
    still = (Langevin(temperature=0.0),)
    assert torch.equal(
        path(Substeps(Simultaneous(), 4), still, bowl(1), 0.2, 3, Keyed(0)).points,
        path(Simultaneous(), still, bowl(1), 0.05, 12, Keyed(0)).points,
    )
    assert Substeps(Sequential()).in_place
    assert not Substeps(Simultaneous()).in_place


# More atoms, other data


def test_union_is_the_mean_of_fresh_draws(registry: Registry) -> None:
    gamma = {"kind": "uniform", "size": 4, "signs": "balanced", "tv": 3.0}
    domain = {"kind": "euclidean", "base": "gaussian"}
    tables = {"data": {**SIMPLE["data"], "domain": domain}, "coupling": {"kind": "gibbs", "energy": "gaussian"}}  # type: ignore[dict-item]
    one, three = (
        build(
            simple(registry, Power(), **tables, measures={"nu": {"init": init, "flows": [{"kind": "langevin"}]}}), registry
        ).system["nu"]
        for init in (gamma, {"kind": "union", "of": gamma, "copies": 3})
    )
    assert torch.equal(three.points[:4], one.points)
    assert len(set(three.points[:, 0].tolist())) == 12
    assert torch.equal(three.sign, one.sign.repeat(3))
    assert float(three.mass.abs().sum()) == pytest.approx(3.0, rel=1e-14)


def test_union_keeps_equal_masses_stored_once_and_data_paired(registry: Registry) -> None:
    nu = {"init": {"kind": "union", "of": {"kind": "data", "copies": 2}}, "flows": [{"kind": "langevin", "noise": "antithetic"}]}
    mu = build(simple(registry, Power(), measures={"nu": nu}), registry).system["nu"]
    assert mu.equal
    assert float(mu.total) == pytest.approx(1, rel=1e-14)
    assert torch.equal(mu.points[: mu.size // 2], mu.points[mu.size // 2 :])


def test_union_joins_marks_and_unequal_masses() -> None:
    mu = Particles.uniform(normals(3, 2), Euclidean()).replace(log_mass=normals(3), marks={"y": normals(3, 4)})
    two = joined([mu, mu])
    assert torch.equal(two.marks["y"], mu.marks["y"].repeat(2, 1))
    assert float(two.total) == pytest.approx(float(mu.total), rel=1e-14)


def test_bootstrap_draws_the_data_again_and_nothing_else(registry: Registry) -> None:
    inner = SIMPLE["data"]
    plain, first, second = (
        build(simple(registry, Power(), data=table), registry).system
        for table in (inner, *({"kind": "bootstrap", "of": inner, "resample": i} for i in (0, 1)))
    )
    assert torch.equal(plain["test"].points, first["test"].points)
    assert first["data"].equal
    assert set(first["data"].points.flatten().tolist()) < set(plain["data"].points.flatten().tolist())
    assert not torch.equal(first["data"].points, second["data"].points)
    assert torch.equal(first["nu"].points, first["data"].points.repeat(2, 1))


def test_marks_go_with_resampled_atoms() -> None:
    points = normals(9, 2)
    mu = resampled(Particles.uniform(points, Euclidean(), 2.0).replace(marks={"y": points[:, 0]}), Keyed(0))
    assert torch.equal(mu.marks["y"], mu.points[:, 0])
    assert float(mu.total) == pytest.approx(2.0)


# Estimates that are known


def covariances(h: float, steps: int, start: float) -> tuple[float, float, float]:
    """Variances of Euler for V = x^2/2, T = 1, with h and with h/2, and the covariance of the two on one path."""
    a, b = 1 - h, 1 - h / 2
    coarse = fine = cross = start
    for _ in range(steps):
        coarse, fine, cross = a**2 * coarse + 2 * h, b**4 * fine + h * (b**2 + 1), a * b**2 * cross + h * (b + 1)
    return coarse, fine, cross


def test_the_step_of_an_ornstein_uhlenbeck_process(registry: Registry) -> None:
    """The variance settles at 1 / (1 - h/2), of which h/2 + h^2/4 is error; its estimate follows from the recursions."""
    h, steps, n, seeds = 0.2, 20, 200, 10
    nu = {"init": "data", "flows": [{"kind": "langevin"}]}
    data = {**SIMPLE["data"], "train": n}  # type: ignore[dict-item]
    found = parts(simple(registry, Power(2), step=h, steps=steps, data=data, measures={"nu": nu}), registry, seeds, ("step",))[
        "step"
    ]
    coarse, fine, cross = covariances(h, steps, 1.5**2)
    assert coarse == pytest.approx(1 / (1 - h / 2), rel=1e-3)
    error = 2 * math.sqrt(2 / n * (coarse**2 + fine**2 - 2 * cross**2) / seeds)
    assert found.bias == pytest.approx(2 * (coarse - fine), abs=5 * error)
    assert found.bias == pytest.approx(h / 2, abs=h**2 / 4 + 5 * error)
    assert found.bias_error == pytest.approx(error, rel=5 / math.sqrt(2 * (seeds - 1)))
    assert found.bias_error is not None
    assert found.bias_error < 0.3 * 2 * math.sqrt(2 / n * (coarse**2 + fine**2) / seeds)  # what two paths would give
    assert found.resolved


NARROW = {**SIMPLE["data"], "std": 1e-6, "train": 20, "test": 0}  # type: ignore[dict-item]


def settled(h: float, steps: int) -> float:
    """The variance that noise alone brings in."""
    return sum(2 * h * (1 - h) ** (2 * j) for j in range(steps))


@pytest.mark.parametrize("noise", ["plain", "antithetic"])
def test_the_spread_of_a_mean_is_that_of_n_atoms(registry: Registry, noise: str) -> None:
    """Of the mean, sqrt(variance / N), and no bias; of x^2 with antithetic pairs, which are equal, as of N/2 atoms."""
    plain, seeds, variance = noise == "plain", 60, settled(0.1, 8)
    nu = {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "noise": noise}]}
    metric = Power(1 if plain else 2)
    found = parts(simple(registry, metric, data=NARROW, measures={"nu": nu}), registry, seeds, ("nu",))["nu"]
    spread = math.sqrt(variance / 40) if plain else variance * math.sqrt(2 / 20)
    assert found.spread == pytest.approx(spread, rel=5 / math.sqrt(2 * (seeds - 1)))
    assert found.bias == pytest.approx(0, abs=5 * math.sqrt(2 / seeds) * spread)
    assert not found.resolved


def test_the_bias_of_a_squared_mean_is_one_over_n(registry: Registry) -> None:
    """E (mean)^2 = variance / N. With A, B the means of halves, v(N) - v(2N) = A^2 - (A + B)^2/4, of variance 3/2 s^4."""
    seeds, bias = 100, settled(0.1, 8) / 40
    found = parts(simple(registry, Power(1, 2), data=NARROW), registry, seeds, ("nu",))["nu"]
    assert found.bias == pytest.approx(bias, abs=5 * 2 * bias * math.sqrt(3 / 2 / seeds))
    assert found.resolved


def test_the_bootstrap_of_a_mean(registry: Registry) -> None:
    """The standard deviation of a resampled mean is s / sqrt(n), s that of the very sample; without a step nothing else moves."""
    seeds, resamples = 4, 40
    e = simple(registry, Power(), steps=0)
    own = [float(build(attrs.evolve(e, seed=seed), registry).system["data"].points.var(correction=0)) / 50 for seed in range(seeds)]
    found = parts(e, registry, seeds, ("data",), resamples)
    spread = math.sqrt(sum(own) / seeds)
    assert found["data"].spread == pytest.approx(spread, rel=5 / math.sqrt(2 * seeds * (resamples - 1)))
    assert found["test"].unchanged
    tested = parts(attrs.evolve(e, metrics=(Probe(Power(of="test"), Every(1)),)), registry, seeds, ("data",), resamples)
    assert tested["data"].unchanged
    assert not tested["test"].unchanged


def test_estimates_of_given_differences() -> None:
    step = of_step([1.0, 1.0, 4.0])
    assert (step.bias, step.bias_error, step.noise) == pytest.approx((4.0, 2.0, 8.6))
    assert not step.resolved
    assert step.amount == 0
    atoms = of_atoms("nu", [1.0, -1.0])
    assert (atoms.bias, atoms.spread, atoms.spread_error) == pytest.approx((0.0, 2.0, 2 / math.sqrt(2)))
    assert atoms.amount == pytest.approx(2.0)
    assert of_data([[0.0, 2.0], [0.0, 4.0]], "data").spread == pytest.approx(math.sqrt(5))
    assert of_step([1.0, 1.0]).amount == 2
    assert of_step([0.0, 0.0]).unchanged


# The command


def test_the_command_says_its_cost_first_and_writes_every_number(shell: Shell) -> None:
    said = shell("error", shell.write(), "--seeds", 2, "--resamples", 3, "--json", "error.json")
    assert said.code == 0, said.err
    assert said.err.startswith("small: 2 seeds x 7 runs = 14 runs, 48 steps, about the work of 20 runs of 3 steps")
    told = json.loads((shell.folder / "error.json").read_text())
    assert set(told["metrics"]) == {"kl", "tv"}
    kl = told["metrics"]["kl"]
    assert list(kl["parts"]) == ["step", "nu", "gamma", "data", "test"]
    assert set(kl["parts"]["nu"]) == {"bias", "bias_error", "noise", "spread", "spread_error", "resolved", "amount"}
    assert kl["line"] in said.out.splitlines()
    assert kl["line"].startswith(f"kl = {kl['value']:.4g} +- ")
    assert "test: nothing changed" in told["metrics"]["tv"]["line"]


def test_after_ctrl_c_it_goes_on(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of a command that was not stopped, and no run is taken twice."""
    given = ("error", shell.write(), "--seeds", 2, "--resamples", 2)
    whole = shell(*given, "--out", "whole")
    taken: list[str] = []

    def stopping(one: Run, *rest: Any) -> Rows:
        if len(taken) == 4:
            raise KeyboardInterrupt
        taken.append(one.part)
        return ended(one, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("measureflow_tools.commands.error.ended", stopping)
        said = shell(*given, "--out", "part")
    assert (said.code, said.err.splitlines()[-1]) == (130, "stopped; the same command with --out part goes on")
    with Path("part/runs.jsonl").open("a") as file:
        file.write('{"step": 3, "rows"')  # a line that was cut short
    again = shell(*given, "--out", "part")
    assert again.out == whole.out
    assert "run 5 of 12" in again.err
    assert "run 4 of 12" not in again.err
    assert Path("part/runs.jsonl").read_text() == Path("whole/runs.jsonl").read_text()
    assert "not what was asked" in shell("error", shell.write(), "--seeds", 3, "--out", "part").err


def test_the_docs_command_runs(shell: Shell) -> None:
    (command,) = re.findall(r"^measureflow (error .*)$", (ROOT / "docs" / "error-meter.md").read_text(), re.MULTILINE)
    name, file, *rest = shlex.split(command)
    small = [part for setting in ("steps=2", "data.train=100", "data.test=50") for part in ("--set", setting)]
    said = shell(name, ROOT / file, *rest, *small, "--seeds", 2, "--resamples", 2)
    assert said.code == 0, said.err
    assert re.search(r"^kl = [\d.]+ \+- ", said.out, re.MULTILINE)


def test_a_step_in_parts_that_fails_names_its_flow(registry: Registry) -> None:
    order = {"kind": "substeps", "parts": 2}
    flows = [{"kind": "restart", "every": 1}, {"kind": "langevin", "rate": 1e18, "temperature": 0.0}]
    changes = {"steps": 1, "step": 100.0, "dtype": "float32", "measures": {"nu": {"init": "data", "flows": flows}}}
    built = build(simple(registry, Power(), order=order, **changes), registry)  # the second half overflows, if nobody restarts
    with pytest.raises(NonFiniteError, match=r"measures\.nu\.flows\.1"):
        list(run(built.dynamics, built.system, 1))


def test_what_it_costs_is_what_it_does(registry: Registry) -> None:
    e, done = simple(registry, Power()), []
    planned = plan(e, 2, 2)
    metered(planned, lambda _, one: ended(one, registry, "test", lambda: done.append(one.work)))
    assert sum(done) - e.steps * 2 == e.steps * (cost(planned).work - 2)
    assert cost(planned).runs == 10


def test_the_same_file_gives_the_same_estimates(registry: Registry) -> None:
    e = simple(registry, Power())
    assert parts(e, registry, 2, ("step", "nu", "data")) == parts(e, registry, 2, ("step", "nu", "data"))


def test_what_a_user_can_mend(shell: Shell, registry: Registry) -> None:
    said = shell("error", shell.write({"metrics": []}))
    assert (said.code, "add [[metrics]]" in said.err) == (2, True)
    named = attrs.evolve(simple(registry, Power()), measures={"step": simple(registry, Power()).measures["nu"]})
    with pytest.raises(MeasureflowError, match=r"measures.step: the meter has a part of that name"):
        plan(named, 2, 2)


def test_what_is_not_finite_has_no_spread() -> None:
    assert math.isnan(deviation([1.0, math.inf]))
    assert math.isnan(of_step([math.nan, 1.0]).bias or 0.0)
    assert deviation([1.0, 3.0]) == pytest.approx(math.sqrt(2))
