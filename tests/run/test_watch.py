"""Watching a run: it waits for the device only where it looks, goes back to the last good state, halves the step, and warns."""

import itertools
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import TABLES, Said, Shell
from torch.utils._python_dispatch import TorchDispatchMode

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.measure import Particles, System
from measureflow.core.schedule import Constant, Halved
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.divergence import LOOK, Guard
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow
from measureflow.dynamics.simulate import run
from measureflow.errors import NonFiniteError
from measureflow.observe.observer import Every, Observer, See, Stage, Watch, due, never, observed
from measureflow.plugins.registry import Registry
from measureflow.run.checkpoint.checkpoint import newest_step
from measureflow.run.events import read_events
from measureflow.run.jsonl import write_rows
from measureflow.run.metrics_log import read_metrics
from measureflow.run.recover import HALVINGS, halved, halvings_of
from measureflow.run.runner import Asked, stage_of, start
from measureflow_plugins.flows.wasserstein import Wasserstein
from measureflow_plugins.observers.health import Health
from measureflow_plugins.schemes.sequential import Sequential
from measureflow_tools.analysis.clocks import own_times
from measureflow_tools.analysis.runs import read

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import soak

POINTS = {"kind": "file", "path": "points.npy", "domain": {"kind": "euclidean", "base": "gaussian"}}
LOOSE = {  # a step of 2.5 on a Gaussian of variance 1 leads out of every bound, half of it leads to the Gaussian
    "data": POINTS, "coupling.feature": "relu-affine", "measures.gamma.flows": [], "metrics": ["tv"], "step": 2.5, "steps": 80,
    "measures.nu.flows": [{"kind": "langevin"}],
}  # fmt: skip


@pytest.fixture
def points(shell: Shell) -> None:
    np.save("points.npy", np.random.default_rng(0).standard_normal((20, 3)))


def done(said: Said) -> Said:
    assert said.code == 0, said
    return said


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def last(folder: str) -> dict[str, torch.Tensor]:
    return tensors(sorted(Path(folder, "checkpoints").iterdir())[-1])


def numbers(folder: str) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(Path(folder))]


# --- waiting ---


class Reads(TorchDispatchMode):
    """Counts the numbers that are read off the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_run_waits_for_the_device_only_where_it_looks(registry: Registry, tmp_path: Path) -> None:
    e = from_tables({**TABLES, "steps": 100, "metrics": [], "observers": ["progress", "checkpoint", "curves"]}, registry)
    built, stage = build(e, registry), stage_of(e, Asked(tmp_path, quiet=True))
    systems = run(built.dynamics, built.system, e.steps, Guard(due(e.metrics, e.observers, e.steps)))
    with Reads() as reads:
        read = {}
        for system, _ in observed(systems, stage, built.view, e.metrics, e.observers):
            read[system.step], reads.count = reads.count, 0
    assert LOOK == 10
    assert read == {step: int(step > 0 and step % 10 == 0) for step in range(101)}


def test_a_run_looks_before_somebody_does(registry: Registry, tmp_path: Path) -> None:
    e = from_tables({**TABLES, "steps": 100, "metrics": [{"kind": "tv", "every": 7}], "observers": []}, registry)
    assert [step for step in range(30) if due(e.metrics, (), 100)(step)] == [0, 7, 14, 21, 28]
    silent, snapshots = Watch(Plain(), Every(3)), registry.components["observer", "snapshots"](count=3, at=(5,))
    assert [step for step in range(10) if due((), [silent], 100)(step)] == [0, 3, 6, 9], "who does not say looks always"
    assert [step for step in range(101) if due((), [Watch(snapshots, Every())], 100)(step)] == [0, 5, 25, 100]


@attrs.frozen
class Plain(Observer):
    """An observer that does not say when it looks."""

    kind: ClassVar[str] = "plain"

    def watch(self, stage: Any) -> Any:
        raise NotImplementedError


@attrs.frozen
class Breaks(Flow):
    """Atoms become NaN in one step and are all well in the next."""

    kind: ClassVar[str] = "breaks"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    at: int

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        bad = mu.points * math.nan if context.step == self.at else torch.nan_to_num(mu.points, 0.5)
        return mu.replace(points=bad)


def broken(registry: Registry, at: int, steps: int, **more: Any) -> tuple[Dynamics, System]:
    built = build(from_tables({**TABLES, "steps": steps, **more}, registry), registry)
    flows = {"nu": (*built.dynamics.flows["nu"], Breaks(at)), "gamma": ()}  # nobody who reads nu keeps its trouble
    return attrs.evolve(built.dynamics, flows=flows), built.system


@pytest.mark.parametrize("looks", [never, lambda step: True, lambda step: step % 4 == 0])
def test_trouble_is_traced_to_its_step_and_flow_wherever_the_run_looks(registry: Registry, looks: Any) -> None:
    dynamics, start = broken(registry, at=16, steps=40)
    with pytest.raises(
        NonFiniteError, match=r"nu became non-finite at step 17 in its flow 'breaks' \(measures.nu.flows.2\)"
    ) as found:
        list(run(dynamics, start, 40, Guard(looks)))
    whole, first = broken(registry, at=1000, steps=40)
    *_, wanted = run(whole, first, 16)
    assert found.value.last.step == 16
    assert found.value.last.time == wanted.time
    assert all(torch.equal(found.value.last[name].points, wanted[name].points) for name in ("nu", "gamma"))


def test_a_loop_of_ones_own_is_never_given_a_bad_state(registry: Registry) -> None:
    dynamics, first = broken(registry, at=13, steps=40)
    systems = run(dynamics, first, 40)
    assert all(bool(torch.isfinite(system["nu"].points).all()) for system in itertools.islice(systems, 14))
    with pytest.raises(NonFiniteError):
        next(systems)


def test_a_checkpoint_never_holds_a_bad_state(shell: Shell, points: None) -> None:
    """Saved whenever a moment has passed, which is at every step here."""
    changes = {**LOOSE, "metrics": [], "runaway": 1e30, "step": 1e9, "observers": [{"kind": "checkpoint", "seconds": 0}]}
    assert shell("run", shell.write(changes), "--out", "new").code == 2
    kept = [tensors(path) for path in Path("new/checkpoints").glob("*.safetensors")]
    assert len(kept) == 2
    assert all(bool(torch.isfinite(tensor).all()) for state in kept for tensor in state.values())


# --- running away ---


def test_a_state_that_runs_away_is_trouble_with_its_remedy(shell: Shell, points: None) -> None:
    said = shell("run", shell.write(LOOSE), "--out", "new")
    assert said.code == 2
    assert "nu ran away at step " in said.err
    assert "as `runaway` sets it) in its flow 'langevin' (measures.nu.flows.0): lower step (now 2.5)" in said.err
    first = len(numbers("new"))
    assert shell("run", shell.write({**LOOSE, "runaway": 1e12}), "--out", "far").code == 2
    assert len(numbers("far")) > first + 20, "1.5 to the power of 20 is 3,000"


def test_a_mass_that_runs_away_is_trouble(shell: Shell) -> None:
    """Explicit reaction on a regression whose step is far too large: a mass of 1e30 comes before the first infinity."""
    data = {"kind": "regression", "weights": [10.0, -10.0], "dim": 4, "train": 100, "test": 20}
    gamma = {"init": {"kind": "uniform", "size": 20, "signs": "balanced", "tv": 2.0}, "flows": [{"kind": "wfr", "rate": 10.0}]}
    coupling = {"kind": "regression", "feature": "relu"}
    tables = {**TABLES, "data": data, "measures": {"gamma": gamma}, "coupling": coupling, "metrics": []}
    said = shell("run", shell.write({"step": 20.0}, tables), "--out", "new")
    assert said.code == 2
    assert "gamma ran away at step 1 (an atom's mass is over 1e30) in its flow 'wfr'" in said.err


# --- half the step ---


def test_a_run_goes_on_with_half_the_step_on_the_record(shell: Shell, points: None, registry: Registry) -> None:
    said = done(shell("run", shell.write({**LOOSE, "on_trouble": "halve-step"}), "--out", "new"))
    (event,) = read_events(Path("new"))
    assert event["what"] == "halve-step"
    assert (event["factor"], event["h"]) == (0.5, 1.25)
    assert "nu ran away at step" in event["why"]
    at = event["step"]
    assert 10 < at < 79
    assert re.search(
        r"; the state before that was already far out \(nu \S+ times as far as it began\): if it does not", event["why"]
    )
    assert event["time"] == 2.5 * at
    assert f"goes on from step {at} with h = 1.25, 0.5 of what was asked: as many steps as before, and less time" in said.err
    assert [row["step"] for row in numbers("new")] == list(range(81)), "each step is on the record once"
    assert last("new")["nu.points"].abs().max() < 10
    times = own_times(read(Path("new"), registry), np.array([at, 80]))["particle time"]
    assert times.tolist() == [2.5 * at, 2.5 * at + 1.25 * (80 - at)]
    shown = done(shell("show", "new")).out
    assert f"goes on from step {at} with h = 1.25" in shown
    done(shell("report", "new", "--out", "page.html"))
    assert f"goes on from step {at} with h = 1.25" in Path("page.html").read_text(encoding="utf-8")


def test_quiet_halves_without_a_word(shell: Shell, points: None) -> None:
    assert done(shell("run", shell.write({**LOOSE, "on_trouble": "halve-step"}), "--out", "new", "--quiet")).err == ""
    assert len(read_events(Path("new"))) == 1


@pytest.mark.parametrize("stopped", ["before", "at", "after"])
def test_a_halved_run_resumes_bit_for_bit(shell: Shell, points: None, stopped: str) -> None:
    file = shell.write({**LOOSE, "on_trouble": "halve-step"})
    done(shell("run", file, "--out", "whole", "--quiet"))
    (event,) = read_events(Path("whole"))
    first = event["step"] + {"before": -3, "at": 0, "after": 7}[stopped]
    done(shell("run", file, "--out", "parts", "--set", f"steps={first}", "--quiet"))
    done(shell("resume", "parts", "--steps", "80", "--quiet"))
    assert all(torch.equal(tensor, last("parts")[name]) for name, tensor in last("whole").items())
    assert numbers("whole") == numbers("parts")
    assert read_events(Path("whole")) == read_events(Path("parts"))


def test_events_after_the_checkpoint_happen_again(shell: Shell, points: None) -> None:
    """A run that died after it halved, and whose checkpoint is older than that."""
    file = shell.write({**LOOSE, "on_trouble": "halve-step"})
    done(shell("run", file, "--out", "whole", "--quiet"))
    (event,) = read_events(Path("whole"))
    done(shell("run", file, "--out", "parts", "--set", f"steps={event['step']}", "--quiet"))
    Path("parts/events.jsonl").write_text(json.dumps(event) + "\n" + '{"step": 7')
    done(shell("resume", "parts", "--steps", "80", "--quiet"))
    assert read_events(Path("parts")) == [event]
    assert all(torch.equal(tensor, last("parts")[name]) for name, tensor in last("whole").items())


def test_halving_gives_up(shell: Shell, points: None) -> None:
    said = shell("run", shell.write({**LOOSE, "on_trouble": "halve-step", "step": 1e9}), "--out", "new")
    events = read_events(Path("new"))
    assert said.code == 2
    assert len(events) == HALVINGS
    assert [event["factor"] for event in events] == [0.5**k for k in range(1, HALVINGS + 1)]
    assert f"after {HALVINGS} halvings" in said.err


def test_a_run_that_halving_cannot_save_stops_at_once(shell: Shell, points: None) -> None:
    """From x = 3, steps of size 1 along x^3 lead to 20 and to 2e4; from there, a thousandth of it leads to 4e9."""
    coupling = {"kind": "gibbs", "energy": "double-well"}
    tables = {**TABLES, "data": POINTS, "coupling": coupling, "metrics": [], "step": 1.0, "steps": 20}
    tables |= {"measures": {"nu": {"init": "data", "flows": ["wasserstein"]}}, "on_trouble": "halve-step"}
    said = shell("run", shell.write({}, tables), "--out", "new")
    assert said.code == 2
    assert read_events(Path("new")) == [], "no halving is tried in vain"
    words = r"halving does not help \(the state before that was already far out \(nu \S+ times as far as it began\)\), even h = "
    assert re.search(f"{words}0.000976562 fails: start again with a smaller step", said.err)


@pytest.mark.parametrize("steps", [20, 40])
def test_a_run_that_ends_far_out_says_so(shell: Shell, points: None, steps: int) -> None:
    """It grows by a factor 1.5 a step: 3e3 in all after 20, 1e7 after 40, which `runaway` allows."""
    said = done(shell("run", shell.write({**LOOSE, "steps": steps, "runaway": 1e12}), "--out", "new"))
    assert list(warnings("new")) == (["far"] if steps == 40 else [])
    assert ("the run ends far out (nu " in said.err) == (steps == 40)
    done(shell("resume", "new", "--steps", "50", "--quiet"))
    assert [event["step"] for event in read_events(Path("new"))] == [50], "where it ends now, not where it ended then"


def test_in_place_has_nothing_to_go_back_to(shell: Shell) -> None:
    said = shell("check", shell.write({"in_place": True, "on_trouble": "halve-step"}))
    assert said.code == 2
    assert "on_trouble: 'halve-step' goes back to the last good state, which in_place = true overwrites" in said.err


def test_halved_is_a_schedule() -> None:
    twice = halved(halved(Constant(8.0), (3,)), (5, 5))
    assert [twice(step) for step in (0, 2, 3, 4, 5, 6)] == [8, 8, 4, 4, 1, 1]
    assert halvings_of(twice) == (3, 5, 5)
    assert twice.range == (1.0, 8.0)
    assert not isinstance(halved(Constant(8.0), ()), Halved)


# --- health ---


def warnings(folder: str) -> dict[str, str]:
    return {event["kind"]: event["why"] for event in read_events(Path(folder)) if event["what"] == "warning"}


SOON = [{"kind": "health", "patience": 5}]


def test_a_healthy_run_says_nothing(shell: Shell) -> None:
    done(shell("run", shell.write({"steps": 60, "observers": SOON, "metrics": ["objective"]}), "--out", "new"))
    assert not Path("new/events.jsonl").exists()


def test_few_accepted_proposals_are_said(shell: Shell, points: None) -> None:
    flows = [{"kind": "langevin", "method": "metropolis"}]
    file = shell.write({**LOOSE, "step": 0.3, "steps": 60, "observers": SOON, "metrics": [], "measures.nu.flows": flows})
    done(shell("run", file, "--out", "good"))
    assert warnings("good") == {}
    said = done(shell("run", file, "--out", "bad", "--set", "measures.nu.flows.0.rate=100.0"))
    assert list(warnings("bad")) == ["acceptance.nu"]
    assert said.err.count("of the Metropolis proposals were accepted over the last 5 looks, so that most atoms stand still") == 1
    assert "lower step or the rate" in said.err
    shown = done(shell("show", "bad")).out
    assert "warning at step 50: nu: " in shown


def test_a_timid_step_is_said_where_nothing_else_moves(shell: Shell) -> None:
    nu = {"init": "data", "flows": [{"kind": "langevin", "method": "metropolis"}]}
    tables = {
        **TABLES,
        "data": POINTS,
        "coupling": {"kind": "gibbs", "energy": "double-well"},
        "measures": {"nu": nu},
        "metrics": [],
    }
    tables |= {"steps": 60, "step": 1e-5, "observers": SOON}
    np.save("points.npy", np.random.default_rng(0).standard_normal((200, 2)))
    done(shell("run", shell.write({}, tables), "--out", "new"))
    assert warnings("new")["acceptance.nu"].endswith("so that the atoms could move faster at no loss: raise step")


def test_a_measure_pinned_at_its_bound_is_said(shell: Shell) -> None:
    file = shell.write({"steps": 60, "observers": SOON})
    done(shell("run", file, "--out", "good"))
    said = done(shell("run", file, "--out", "bad", "--set", "measures.gamma.flows.1.radius=0.5"))
    assert warnings("good") == {}
    assert list(warnings("bad")) == ["tv.gamma"]
    assert "raise measures.gamma.flows.1.radius if it is not meant to" in said.err


def test_few_effective_atoms_are_said(shell: Shell) -> None:
    flows = [{"kind": "fisher-rao", "rate": 1.0}]
    coupling = {"kind": "gibbs", "energy": "double-well"}
    tables = {**TABLES, "data": POINTS, "coupling": coupling, "metrics": [], "steps": 20, "observers": ["health"]}
    tables["measures"] = {"nu": {"init": "data", "flows": flows}}
    np.save("points.npy", np.random.default_rng(0).standard_normal((200, 2)))
    done(shell("run", shell.write({}, tables), "--out", "good"))
    said = done(shell("run", shell.write({"measures.nu.flows.0.rate": 100.0}, tables), "--out", "bad"))
    assert warnings("good") == {}
    assert list(warnings("bad")) == ["ess.nu"]
    assert "nu: its 200 atoms of unequal mass are worth " in said.err
    assert "or add a flow 'birth-death'" in said.err
    grid = {"measures.nu.flows": [{"kind": "entropic-reaction", "rate": 100.0}], "coupling.strength": 50.0}
    done(shell("run", shell.write(grid, tables), "--out", "grid"))
    assert warnings("grid") == {}, "a grid's masses are a density"


def test_a_functional_that_rises_is_said(shell: Shell) -> None:
    data = {"kind": "regression", "weights": [10.0, -10.0], "dim": 4, "train": 100, "test": 20}
    gamma = {"init": {"kind": "uniform", "size": 20, "signs": "balanced", "tv": 2.0}, "flows": [{"kind": "wfr", "rate": 10.0}]}
    tables = {**TABLES, "data": data, "measures": {"gamma": gamma}, "coupling": {"kind": "regression", "feature": "relu"}}
    tables |= {"metrics": ["objective"], "steps": 60, "step": 0.05, "observers": ["health"]}
    done(shell("run", shell.write({}, tables), "--out", "good"))
    assert warnings("good") == {}
    said = done(shell("run", shell.write({"step": 0.5}, tables), "--out", "bad"))
    assert list(warnings("bad")) == ["energy"]
    assert "the functional that a measure descends without noise rose by " in said.err
    assert "the step is too large; lower step or the flows' rates" in said.err
    batch = {"step": 0.5, "order": {"kind": "minibatch", "batch": 10}}
    done(shell("run", shell.write(batch, tables), "--out", "noisy"))
    assert warnings("noisy") == {}, "what rises there may be the batch"


def test_a_resumed_run_remembers_how_far_it_fell(tmp_path: Path) -> None:
    """A rise of .1 is little after a fall of 9, and much after none."""
    stage = Stage("x", tmp_path, 20, 0, ("nu",), quiet=True, flows={"nu": (Wasserstein(),)}, scheme=Sequential())

    def warnings() -> list[Any]:
        with Health().watch(stage) as see:
            for step, value in ((11, 0.9), (12, 1.0)):
                see(System({}, step), {"objective": value})
        return read_events(tmp_path)

    write_rows(tmp_path / "metrics.jsonl", [{"step": k, "seconds": 0.0, "objective": 10.0 - k} for k in range(10)])
    assert warnings() == []
    (tmp_path / "metrics.jsonl").unlink()
    assert [event["kind"] for event in warnings()] == ["energy"]


def test_a_warning_is_given_once_in_a_run_that_is_resumed(shell: Shell) -> None:
    file = shell.write({"steps": 60, "observers": SOON, "measures.gamma.flows.1.radius": 0.5})
    done(shell("run", file, "--out", "new"))
    said = done(shell("resume", "new", "--steps", "200"))
    assert "stood at its bound" not in said.err
    assert len(read_events(Path("new"))) == 1


def test_a_run_that_is_often_interrupted_warns_as_a_whole_one(shell: Shell) -> None:
    """Its patience is five looks, and it is stopped after two and a half; what was seen after a checkpoint is seen again."""
    flows = [{"kind": "langevin", "method": "metropolis", "rate": 1e4}]
    file = shell.write({"steps": 60, "observers": SOON, "measures.gamma.flows.1.radius": 0.5, "measures.nu.flows": flows})
    done(shell("run", file, "--out", "whole", "--quiet"))
    done(shell("run", file, "--out", "parts", "--quiet", "--set", "steps=25"))
    with Path("parts/health.jsonl").open("a") as looks:
        looks.write('{"step": 30, "gamma.1": 0.0, "nu.accepted": 1.0}\n{"step": 40, "gam')  # by a run that was killed
    done(shell("resume", "parts", "--quiet", "--steps", "45"))
    done(shell("resume", "parts", "--quiet", "--steps", "60"))
    events = read_events(Path("whole"))
    assert {(event["kind"], event["step"]) for event in events} == {("tv.gamma", 50), ("acceptance.nu", 50)}
    assert read_events(Path("parts")) == events
    assert Path("parts/health.jsonl").read_text() == Path("whole/health.jsonl").read_text()


def test_health_looks_at_few_steps() -> None:
    looks = Health().looks(100)
    assert [step for step in range(25) if looks(step)] == [0, 10, 20]


# --- observers that change the working folder ---


@attrs.frozen
class Wanders(Observer):
    """An observer that changes the working folder at the first system that it sees."""

    kind: ClassVar[str] = "wanders"
    to: str = "elsewhere"

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        yield lambda system, row: os.chdir(self.to) if system.step == 0 else None


def test_a_run_stays_in_its_folder_whatever_the_working_folder(shell: Shell, registry: Registry) -> None:
    """`shell` takes the working folder back to where it was."""
    observers = ["curves", "snapshots", {"kind": "checkpoint", "seconds": 0.0}, {"kind": "health", "patience": 1}]
    raw = {**TABLES, "steps": 20, "observers": observers}
    raw["measures"] = {**raw["measures"], "gamma": {**raw["measures"]["gamma"], "flows": [{"kind": "tv-ball", "radius": 1e-3}]}}
    e = from_tables(raw, registry)
    elsewhere = Path("elsewhere").absolute()
    elsewhere.mkdir()
    start(attrs.evolve(e, observers=(Watch(Wanders(), Every()), *e.observers)), registry, Asked(Path("new"), quiet=True))
    assert list(elsewhere.iterdir()) == []
    new = elsewhere.parent / "new"
    assert newest_step(new) == 20
    assert [event["kind"] for event in read_events(new)] == ["tv.gamma"]
    assert (new / "figures" / "curves.png").exists()


def test_errors_name_the_run_folder_as_it_was_given(shell: Shell, points: None) -> None:
    said = shell("run", shell.write(LOOSE), "--out", "new")
    assert re.search(r"the last good state, of step \d+, is new/checkpoints/step-\d+\.json", said.err)
    said = shell("run", shell.write(LOOSE), "--out", Path("whole").absolute())
    assert f"is {Path('whole').absolute()}/checkpoints/step-" in said.err


# --- the soak ---


def looked(memory: Iterator[float], handles: Iterator[int]) -> list[soak.Sample]:
    return [soak.Sample(step, 10 * step, next(memory), next(handles), 2, 3) for step in range(100)]


def test_the_soak_tells_a_leak_from_a_flat_run() -> None:
    facts, flat = soak.verdict(looked(itertools.cycle([500.0, 501.0]), itertools.repeat(9)), 1000)
    assert flat
    assert abs(facts["slope"]) < 1
    facts, flat = soak.verdict(looked(itertools.count(500.0, 0.4), itertools.repeat(9)), 1000)
    assert not flat, "40 MiB in all"
    assert facts["slope"] == pytest.approx(40.0)
    assert not soak.verdict(looked(itertools.repeat(500.0), itertools.count(9)), 1000)[1]


def test_the_soak_runs_an_experiment(registry: Registry, tmp_path: Path) -> None:
    e = from_tables(soak.tables(2, 100), registry)
    kinds = {watch.observer.kind for watch in e.observers}
    assert kinds == {kind for family, kind in registry.components if family == "observer"}, "every observer is on"
    assert start(e, registry, Asked(tmp_path / "run", quiet=True), "").step == 2


def test_a_mark_that_is_not_finite_is_trouble(shell: Shell) -> None:
    """BAOAB ends with a kick: the momentum leaves the finite numbers a step before the atoms do."""
    example = Path(__file__).parents[2] / "docs" / "examples" / "langevin-double-well.toml"
    small = ["metrics=[]", "observers=[]", "data.train=64", "steps=40"]
    changes = ['measures.nu.flows=[{kind="kinetic-langevin"}]', *small, "step=3.0", "runaway=1e20"]
    settings = [part for change in changes for part in ("--set", change)]
    said = shell("run", example, *settings, "--out", "new")
    assert said.code == 2
    assert "in its mark 'momentum'" in said.err
    kept = [tensors(path) for path in Path("new/checkpoints").glob("*.safetensors")]
    assert kept
    assert all(bool(torch.isfinite(tensor).all()) for each in kept for tensor in each.values())


def test_a_start_that_is_not_finite_is_refused(shell: Shell) -> None:
    example = Path(__file__).parents[2] / "docs" / "examples" / "langevin-double-well.toml"
    said = shell("run", example, "--set", "data.train=64", "--set", "data.std=1e39", "--set", "metrics=[]", "--out", "new")
    assert said.code == 2
    assert "measures.nu.init: some of its numbers are not finite in float32" in said.err
    assert not Path("new").exists()


def test_an_observer_cannot_hide_that_a_run_failed(registry: Registry) -> None:
    @attrs.frozen
    class Hider(Observer):
        kind: ClassVar[str] = "hider"

        @contextmanager
        def watch(self, stage: Stage) -> Iterator[See]:
            with suppress(BaseException):
                yield lambda system, row: None

    def failing() -> Iterator[System]:
        yield System({})
        raise NonFiniteError("it ran away")

    built = build(from_tables({**TABLES, "observers": []}, registry), registry)
    stage = stage_of(from_tables({**TABLES, "observers": []}, registry), Asked(Path()))
    with pytest.raises(NonFiniteError, match="ran away"):
        list(observed(failing(), stage, built.view, (), [Watch(Hider(), Every())]))
