"""Local flows taken block by block: the same step to rounding, noise drawn once, in place where nobody else reads."""

import copy
from typing import Any

import attrs
import pytest
import torch
from small import TABLES, Shell
from torch import Tensor

from measureflow.config.build import Built, build
from measureflow.config.memory import footprint
from measureflow.config.validate import from_tables
from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics import blocks as stream
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.dynamics.simulate import advance, apply_flows, run
from measureflow.errors import ConfigError, NonFiniteError
from measureflow.plugins.registry import Registry
from measureflow_plugins.schemes.simultaneous import Simultaneous

ROUNDING = 1e-13  # a few dozen units of float64 rounding: sums of 8 terms in another order, over three steps
LANGEVIN = {"kind": "langevin"}
KINETIC = {"kind": "kinetic-langevin"}
RESTART = {"kind": "restart", "probability": 0.5}
HUGE = {"step": 1e18, "measures.nu.flows.1.rate": 1e18}
MMD = {"kind": "mmd", "feature": {"kind": "gaussian"}}


def built(registry: Registry, flows: list[dict[str, Any]], coupling: dict[str, Any] | None = None, **more: Any) -> Built:
    tables = copy.deepcopy(TABLES) | {"dtype": "float64", "metrics": []} | more
    tables["measures"]["nu"]["flows"] = flows
    if coupling:
        tables["coupling"] = coupling
        del tables["measures"]["gamma"]
    return build(from_tables(tables, registry), registry)


def after(built: Built, steps: int = 3) -> System:
    *_, last = run(built.dynamics, built.system, steps)
    return last


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 rows: 100 walkers are then many of them, and 50 is no multiple."""
    monkeypatch.setitem(stream.ROWS, "cpu", 7)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize(
    "flows",
    [[LANGEVIN], [{**LANGEVIN, "noise": "antithetic"}], [RESTART, KINETIC], [{**LANGEVIN, "method": "metropolis"}]],
    ids=["plain", "antithetic", "marks", "metropolis"],
)
def test_streamed_is_the_whole_step(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, flows: list[dict[str, Any]], in_place: bool
) -> None:
    whole = after(built(registry, flows))
    monkeypatch.setitem(stream.ROWS, "cpu", 7)
    streamed = after(built(registry, flows, in_place=in_place))
    for name in ("nu", "gamma"):
        mine, theirs = streamed[name], whole[name]
        assert torch.allclose(mine.points, theirs.points, rtol=0, atol=ROUNDING)
        assert torch.allclose(mine.log_mass, theirs.log_mass, rtol=0, atol=ROUNDING)
        assert mine.marks.keys() == theirs.marks.keys()
        assert all(torch.allclose(mine.marks[k], theirs.marks[k], rtol=0, atol=ROUNDING) for k in mine.marks)


@attrs.frozen
class Counting(Noise):
    """Keyed noise that notes how many rows of normals were drawn."""

    inner: Keyed
    drawn: list[int]

    def at(self, *key: str | int) -> "Counting":
        return Counting(self.inner.at(*key), self.drawn)

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        self.drawn.append(len(rows))
        return self.inner.normal_rows(rows, width, like, draw)

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return self.inner.uniform_rows(rows, like, draw)

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return self.inner.index_rows(rows, high, like, draw)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("noise", "rows"), [("plain", 100), ("antithetic", 50)])
def test_each_normal_is_drawn_once(registry: Registry, noise: str, rows: int) -> None:
    b = built(registry, [{**LANGEVIN, "noise": noise}])
    counting = Counting(Keyed(0), [])
    advance(attrs.evolve(b.dynamics, noise=counting), b.system)
    assert sum(counting.drawn) == rows


@pytest.mark.usefixtures("blocks")
def test_in_place_overwrites_the_points_and_nothing_else(registry: Registry) -> None:
    b = built(registry, [RESTART, {**LANGEVIN, "noise": "antithetic"}], in_place=True)
    data, address = b.system["data"].points.clone(), b.system["nu"].points.data_ptr()
    last = after(b)
    assert last["nu"].points.data_ptr() == address
    assert last["nu"].equal, "masses that no flow changes stay stored once"
    assert torch.equal(last["data"].points, data)


@pytest.mark.usefixtures("blocks")
def test_in_place_copies_what_somebody_reads(registry: Registry) -> None:
    mmd = built(registry, [LANGEVIN], MMD, in_place=True)
    start = mmd.system["nu"].points.clone()
    advance(mmd.dynamics, mmd.system)
    assert torch.equal(mmd.system["nu"].points, start), "the potential of mmd reads the walkers that move"
    ebm = built(registry, [LANGEVIN], in_place=True)
    shared = ebm.system.replace({"data": ebm.system["nu"]})
    advance(ebm.dynamics, shared)
    assert torch.equal(shared["data"].points, start), "data and walkers are one tensor"


@pytest.mark.parametrize(
    "order", ["simultaneous", {"kind": "extragradient"}, {"kind": "minibatch", "batch": 10, "scheme": "simultaneous"}]
)
def test_in_place_is_refused_where_others_look_back(registry: Registry, order: Any) -> None:
    tables = copy.deepcopy(TABLES) | {"in_place": True, "order": order, "metrics": []}
    tables["measures"]["nu"]["flows"] = [{"kind": "wasserstein"}]
    with pytest.raises(ConfigError, match=r"in_place: order = .* looks at measures as they were"):
        from_tables(tables, registry)


@pytest.mark.usefixtures("blocks")
def test_a_scheme_that_does_not_say_so_never_overwrites(registry: Registry) -> None:
    b = built(registry, [LANGEVIN])
    start = b.system["nu"].points.clone()
    advance(attrs.evolve(b.dynamics, in_place=True, scheme=Simultaneous()), b.system)
    assert torch.equal(b.system["nu"].points, start)


@attrs.frozen
class Remembering(Flow):
    """Moves every atom and marks it with where it was."""

    kind = "remembering"
    local = True
    pointwise = False

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return mu.replace(points=-mu.points, marks={**mu.marks, "before": mu.points})


@pytest.mark.usefixtures("blocks")
def test_a_mark_may_be_a_view_of_the_old_points(registry: Registry) -> None:
    b = built(registry, [LANGEVIN], in_place=True)
    nu = b.system["nu"]
    start = nu.points.clone()
    system = b.system.replace({"nu": nu.replace(marks={"before": torch.zeros_like(start)})})
    dynamics = attrs.evolve(b.dynamics, flows={"nu": (Remembering(),)})
    moved = apply_flows(dynamics, "nu", system, 0.1, in_place=True)
    assert torch.equal(moved.marks["before"], start)
    assert torch.equal(moved.points, -start)


@pytest.mark.usefixtures("blocks")
def test_a_step_that_fails_in_place_says_that_the_state_is_lost(registry: Registry, shell: Shell) -> None:
    b = built(registry, [{**LANGEVIN, "rate": 1e18}], in_place=True, step=1e18, dtype="float32")
    with pytest.raises(NonFiniteError, match="in_place = false names the flow"):
        after(b)
    said = shell("run", shell.write({"in_place": True, **HUGE}), "--out", "r")
    assert said.code == 2
    assert "in_place = false" in said.err
    assert not (shell.folder / "r" / "checkpoints").exists(), "an overwritten state is not kept as a good one"


def test_a_large_streamed_measure_needs_two_copies_and_the_last_good_one(registry: Registry) -> None:
    def copies(**more: Any) -> float:
        tables = copy.deepcopy(TABLES) | more
        tables["data"] |= {"train": 100_000}
        atoms, d, size = footprint(from_tables(tables, registry))["nu"]
        return size / (atoms * (d + 1) * 4)

    assert (copies(), copies(in_place=True), copies(order="simultaneous")) == (3, 2, 6)
