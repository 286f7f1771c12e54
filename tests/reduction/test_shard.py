"""Measures held in parts by several processes are the measures held whole, up to rounding; threads stand for processes."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from small import readable
from torch import Tensor

from measureflow.config.build import Built, build
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.divergence import Guard
from measureflow.dynamics.simulate import advance, run
from measureflow.errors import LostError, MeasureflowError, NonFiniteError
from measureflow.observe.observer import Every, Observer, See, Stage, Watch, measured, observed
from measureflow.parallel.group import Alone, Team
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.sharded import Sharded, part
from measureflow.run.checkpoint.checkpoint import newest, save_checkpoint
from measureflow.run.runner import Asked, stage_of
from measureflow.testing import measure, normals
from measureflow.testing.problems.threads import together
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu

TOLERANCE = 1e-12  # the sums' rounding, carried through 100 steps in float64
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
X = Space(Sphere(), 4)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("equal", [False, True])
def test_sums_over_parts(size: int, equal: bool) -> None:
    """Field, directional and vector sums at points that everyone has, and at points that are spread too."""
    phi, source, at = Relu(power=3), measure(X, 23, signed=True), measure(X, 10, seed=3)
    source = Particles.uniform(source.points, source.domain) if equal else source
    vectors = normals(23, 4, seed=5)
    local = Chunked()
    field = local.field(phi, at.points, source, Need.BOTH)
    along = local.directional(phi, at.points, source, vectors, Need.BOTH)
    wanted = torch.cat(
        [
            field.value[:, None],
            field.grad,
            along.value[:, None],
            along.grad,
            local.vector_sum(phi, at.points, source, vectors),
        ],
        1,
    )

    def sums(team: Team, points: Particles) -> Tensor:
        reducer, mine = Sharded(Chunked(), team).at(points), part(source, team)
        v = vectors[mine.offset : mine.offset + mine.size]
        field = reducer.field(phi, points.points, mine, Need.BOTH)
        along = reducer.directional(phi, points.points, mine, v, Need.BOTH)
        return torch.cat(
            [field.value[:, None], field.grad, along.value[:, None], along.grad, reducer.vector_sum(phi, points.points, mine, v)],
            1,
        )

    for everywhere in together(size, lambda team: sums(team, at)):
        torch.testing.assert_close(everywhere, wanted, rtol=0, atol=TOLERANCE)
    spread = torch.cat(together(size, lambda team: sums(team, part(at, team))))
    torch.testing.assert_close(spread, wanted, rtol=0, atol=TOLERANCE)


def test_a_sum_over_parts_asked_without_where_is_refused() -> None:
    whole = measure(X, 10)
    with pytest.raises(TypeError, match=r"reducer\.at\(mu\)"):
        together(2, lambda team: Sharded(Chunked(), team).field(Relu(), whole.points, part(whole, team), Need.VALUE))


def test_take_total_largest_and_whole_reach_every_part() -> None:
    mu = measure(X, 23, signed=True).replace(marks={"lineage": torch.arange(23), "velocity": normals(23, 4, seed=9)})
    index = torch.tensor([22, 0, 7, 7, 15])

    def asked(team: Team) -> tuple[Particles, Particles, Tensor, Tensor]:
        reducer, mine = Sharded(Chunked(), team), part(mu, team)
        rows = index if team.leads else index.flip(0)  # everyone may want others
        total, largest = reducer.total(mine, mine.mass), reducer.largest(mine, mine.mass)
        return reducer.take(mine, rows), reducer.whole(mine), total, largest

    for rank, (taken, whole, total, largest) in enumerate(together(3, asked)):
        _same(taken, mu.take(index if rank == 0 else index.flip(0)), 0)
        _same(whole, mu, 0)
        assert (whole.offset, whole.whole) == (0, 23)
        torch.testing.assert_close(total, mu.total, rtol=0, atol=TOLERANCE)
        assert torch.equal(largest, mu.mass.max())


def test_one_process_that_fails_ends_the_others() -> None:
    def work(team: Team) -> Tensor:
        if team.rank == 1:
            raise MeasureflowError("disk full")
        return team.sum(torch.ones(2))

    with pytest.raises(MeasureflowError, match="disk full"):
        together(2, work)


def test_threads_that_do_not_do_the_same_are_told() -> None:
    with pytest.raises(LostError, match="waits for something else"):
        together(2, lambda team: team.sum(torch.ones(1)) if team.leads else torch.ones(1), patience=0.2)


def test_what_the_leader_does_everyone_knows() -> None:
    done: list[int] = []

    def work(team: Team) -> str:
        return team.led(lambda: f"told {len(done)}{done.append(team.rank) or ''}")

    assert together(3, work) == ["told 0"] * 3
    assert done == [0]

    def fail() -> str:
        raise MeasureflowError("runs/x: exists already")

    def caught(team: Team) -> str:
        try:
            return team.led(fail)
        except MeasureflowError as error:
            return str(error)

    assert together(2, caught) == ["runs/x: exists already"] * 2


def small(name: str) -> dict[str, Any]:
    """An experiment of the docs in float64, with few atoms, few steps and every moving measure held in parts."""
    tables = readable(EXAMPLES / f"{name}.toml")
    tables |= {"steps": 5, "dtype": "float64", "observers": []}
    data = tables["data"]
    for key in ("train", "test"):
        if key in data:
            data[key] = min(data[key], 60)
    if isinstance(tables.get("order"), dict) and "batch" in tables["order"]:
        tables["order"]["batch"] = 20
    if "test_fraction" in data:
        data["test_fraction"] = 0.9
    inits = [mine["init"] for mine in tables["measures"].values() if isinstance(mine["init"], dict)]
    for init in [*inits, *(width for each in inits for width in each.get("widths", ()))]:
        if "size" in init:
            init["size"] = min(init["size"], 24)
    for metric in tables["metrics"]:
        for key, most in {"nodes": 40, "chains": 64, "temperatures": 16}.items():
            if key in metric.get("gibbs", {}):
                metric["gibbs"][key] = min(metric["gibbs"][key], most)
    return tables


@attrs.frozen(eq=False)
class Counted(Team):
    """A team that notes what shapes go between the processes."""

    team: Team
    rank: int
    size: int
    sums: list[tuple[int, ...]]
    sent_: list[tuple[int, ...]]

    def sum(self, tensor: Tensor) -> Tensor:
        self.sums.append(tuple(tensor.shape))
        return self.team.sum(tensor)

    def sent(self, tensor: Tensor, rank: int) -> Tensor:
        self.sent_.append(tuple(tensor.shape))
        return self.team.sent(tensor, rank)


def test_a_step_of_dual_training_adds_up_one_field_of_the_neurons(registry: Registry) -> None:
    """One all-reduce of m x (1 + d) numbers a step, and nothing else goes between the processes."""
    e = from_tables({**small("dual-sphere"), "metrics": [], "steps": 3}, registry)
    built = build(e, registry)
    assert [flow.kind for flow in built.dynamics.flows["nu"]] == ["langevin"]
    m, d = built.system["gamma"].size, built.system["gamma"].dim

    def work(team: Team) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        counted = Counted(team, team.rank, team.size, [], [])
        mine = built.dealt(counted, ["nu", "data", "test"])
        system = mine.system
        for _ in range(3):
            system = advance(mine.dynamics, system)
        return counted.sums, counted.sent_

    for sums, sent in together(2, work):
        assert sums == [(m, 1 + d)] * 3
        assert sent == []


def test_trouble_in_one_process_is_told_by_all(registry: Registry) -> None:
    """One atom of the last process starts so far out that its step runs away; the error is that of one process."""
    tables = small("langevin-double-well")
    tables["measures"]["nu"]["flows"] = [{"kind": "langevin"}]
    built = build(from_tables(tables, registry), registry)
    points = built.system["nu"].points.clone()
    points[-1] = 1e4
    built = attrs.evolve(built, system=built.system.replace({"nu": built.system["nu"].replace(points=points)}))

    def told(built: Built, team: Team) -> tuple[str, int]:
        with pytest.raises(NonFiniteError) as caught:
            list(run(built.dynamics, built.system, 20, Guard(lambda step: False, team)))
        assert caught.value.last is not None
        return str(caught.value), caught.value.last.step

    wanted = told(built, Alone())
    assert "measures.nu.flows.0" in wanted[0]
    assert together(2, lambda team: told(built.dealt(team, ["nu"]), team)) == [wanted, wanted]


def after(built: Built, steps: int) -> System:
    return list(run(built.dynamics, built.system, steps))[-1]


NAMES = sorted(path.stem for path in EXAMPLES.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_example_in_parts_is_the_example_whole(registry: Registry, name: str) -> None:
    e = from_tables(small(name), registry)
    built = build(e, registry)
    metrics = [probe.metric for probe in e.metrics]
    last = after(built, e.steps)
    wanted = measured(last, built.view, metrics)
    names = [name for name, mu in last.measures.items() if mu.size >= 2]

    def work(team: Team) -> tuple[System, dict[str, float]]:
        mine = built.dealt(team, names)
        system = after(mine, e.steps)
        row = measured(system, mine.view, metrics)
        return system.replace({name: mine.view.reducer.whole(mu) for name, mu in system.measures.items()}), dict(row)

    for system, row in together(2, work):
        for name, mu in last.measures.items():
            _same(system[name], mu, TOLERANCE)
        assert row == pytest.approx(wanted, rel=1e-9, abs=1e-9, nan_ok=True)


def _same(mine: Particles, other: Particles, tolerance: float) -> None:
    assert mine.tensors.keys() == other.tensors.keys()
    for name, tensor in other.tensors.items():
        torch.testing.assert_close(
            mine.tensors[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda said, n=name: f"{n}: {said}"
        )


def test_all_go_on_from_one_checkpoint_whatever_each_can_see(registry: Registry, tmp_path: Path) -> None:
    """The first process says which one is whole; the others read that one."""
    e = from_tables(small("dual-sphere"), registry)
    built, stage = build(e, registry), stage_of(e, Asked(tmp_path))
    for step in (1, 2):
        save_checkpoint(attrs.evolve(built.system, step=step), stage)

    def resumed(team: Team) -> int:
        return newest(built.system, attrs.evolve(stage, team=team), lambda text: None).step

    assert together(2, resumed) == [2, 2]
    next(tmp_path.glob("checkpoints/*2.part*")).write_bytes(b"")
    assert together(2, resumed) == [1, 1]


def test_a_whole_system_is_let_go_before_the_next_step(registry: Registry) -> None:
    """Shown to an observer, all atoms are not kept while the next step is computed."""
    seen: list[weakref.ref[System]] = []

    @attrs.frozen
    class Looker(Observer):
        kind = "looker"

        @contextmanager
        def watch(self, stage: Stage) -> Iterator[See]:
            yield lambda system, row: seen.append(weakref.ref(system))

    e = from_tables(small("dual-sphere"), registry)
    built = build(e, registry)

    def work(team: Team) -> list[bool]:
        mine = built.dealt(team, ["nu"])
        stage = stage_of(e, Asked(Path(), team=team))
        kept = []
        for _ in observed(run(mine.dynamics, mine.system, 2), stage, mine.view, (), [Watch(Looker(), Every())]):
            kept.append(any(ref() is not None for ref in seen))
        return kept

    assert not any(together(2, work)[0])
