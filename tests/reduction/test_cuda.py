"""What a GPU needs of the engine, tried without one: the meta device, stubbed probes, counted draws."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from small import TABLES, Shell

from measureflow.config import memory
from measureflow.config.build import build
from measureflow.config.memory import device_of
from measureflow.config.validate import from_tables
from measureflow.core import noise
from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Keyed
from measureflow.errors import MeasureflowError
from measureflow.parallel import torchrun as processes
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Request
from measureflow.run import environment
from measureflow.run.checkpoint import checkpoint
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.features._waves import Waves
from measureflow_plugins.features.bilinear import Times
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.flows.birth_death import parents
from measureflow_plugins.reducers import keops
from measureflow_plugins.reducers.autotune import measuring
from measureflow_plugins.reducers.autotune.candidates import candidates
from measureflow_plugins.reducers.autotune.costs import Costs, Row, read, save

CUDA, META = torch.device("cuda"), torch.device("meta")
RADIAL = Request("sums", 20_000, 64, 15, "gaussian", "radial", torch.float32, CUDA, Need.GRAD)


def nvidia(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)


def test_keops_is_no_usual_choice_on_a_gpu() -> None:
    assert candidates(RADIAL)[0].reducer == Chunked()
    assert {"keops 1D", "keops 2D"} <= {candidate.name for candidate in candidates(RADIAL)}
    assert not [c for c in candidates(attrs.evolve(RADIAL, width=49)) if c.name.startswith("keops")], "its kernels spill there"


def test_tune_leaves_out_what_cannot_run_and_says_so(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measureflow_tools.commands.tune.failing", lambda device: {"compiled": "no loops today"})
    monkeypatch.setattr(measuring, "failing", lambda device: {"compiled": "no loops today"})
    said = shell("tune", "--device", "cpu", "--every", "301", "--out", "costs.json")
    assert said.code == 0, said
    assert "compiled is left out: no loops today" in said.err
    assert {row.candidate.split(",")[0] for row in read(shell.folder / "costs.json").rows} == {"chunked"}


@pytest.mark.parametrize(
    ("code", "why"), [("raise SystemExit('no nvrtc')", "no nvrtc"), ("import os; os.kill(os.getpid(), 11)", "-11")]
)
def test_the_probe_of_keops_survives_what_it_tries(code: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def run(command: list[str], **how: Any) -> Any:
        return real([*command[:-1], code], **how)

    monkeypatch.setattr(keops.subprocess, "run", run)
    keops.trouble.cache_clear()
    try:
        assert why in (keops.trouble("cuda") or "")
    finally:
        keops.trouble.cache_clear()


def test_the_probe_of_keops_succeeds_on_the_cpu() -> None:
    keops.trouble.cache_clear()
    assert keops.trouble("cpu") is None


def test_keops_is_imported_under_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    class Lock:
        def __init__(self, path: Path) -> None: ...

        def __enter__(self) -> None:
            held.append("pykeops" not in sys.modules)

        def __exit__(self, *_: object) -> None: ...

    for name in [name for name in sys.modules if name.partition(".")[0] == "pykeops"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pykeops", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "pykeops.torch", SimpleNamespace(Vi=held.append, Vj=held.append))
    monkeypatch.setattr(keops, "FileLock", Lock)
    keops._symbols.cache_clear()
    try:
        keops._symbols()
        assert len(held) == 1
    finally:
        keops._symbols.cache_clear()


def test_bench_goes_past_a_reducer_that_fails(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise MeasureflowError("KeOps could not be imported (no compiler)")

    monkeypatch.setattr(keops, "_symbols", broken)
    said = shell("bench", shell.write(), "--reducers", "chunked,keops", "--rounds", "1")
    assert said.code == 0, said
    assert "keops: KeOps could not be imported (no compiler)" in said.err
    assert "chunked" in said.out
    assert shell("bench", shell.write(), "--reducers", "keops", "--rounds", "1").code == 2


def test_equal_masses_stay_stored_once_on_another_device() -> None:
    mu = Particles.uniform(torch.ones(5, 3), Euclidean())
    assert mu.to(META).equal
    assert mu.replace(log_mass=torch.zeros(5)).to(META).log_mass.stride() == (1,)
    part = attrs.evolve(mu, offset=5, whole=10).to(META)
    assert (part.offset, part.whole, part.points.is_meta) == (5, 10, True)


def test_a_checkpoint_read_for_another_device_keeps_equal_masses_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    like = Particles.uniform(torch.ones(6, 2), Euclidean()).to(META)
    held = {"nu.points": torch.ones(6, 2), "nu.sign": torch.tensor(1.0), "nu.log_mass": torch.tensor(-1.0)}
    restored = checkpoint._restored(Path("index"), "nu", like, [({"nu": (0, 6, 6)}, held)])
    assert restored.equal
    assert restored.points.is_meta


def test_a_block_of_draws_on_a_gpu_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 2^20 numbers at once and 2^16 rows, whatever the width of the atoms."""
    drawn: list[int] = []

    def fill(block: torch.Tensor, generator: object) -> torch.Tensor:
        drawn.append(block.numel())
        return block

    monkeypatch.setattr(noise.torch, "Generator", lambda device: SimpleNamespace(manual_seed=lambda seed: None))
    for rows, width in ((64, 5_000), (4, 200_000), (1, 1), (200_000, 15), (3, 2_000_000)):
        drawn.clear()
        Keyed(0)._fill(range(rows), torch.empty(rows, width, device="meta"), "", fill)
        assert sum(drawn) >= rows * width
        assert max(drawn) <= max(2**20, width)


def test_worlds_and_starts_are_drawn_on_the_cpu_and_moved(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One config and seed is one world on every device: nothing is drawn on the other."""
    monkeypatch.setattr("measureflow.config.build.device_of", lambda e: META)
    monkeypatch.setattr("measureflow.config.build.begins_well", lambda mu: mu.points.device.type == "cpu")
    monkeypatch.setattr("measureflow.config.build.bounds_of", lambda system, dynamics, runaway: {})
    built = build(from_tables(TABLES, registry), registry)
    assert {name: mu.points.device for name, mu in built.system.measures.items()} == dict.fromkeys(built.system.measures, META)


@pytest.mark.parametrize(("gpus", "here", "backend"), [(0, 2, "gloo"), (1, 2, "cpu:gloo,cuda:gloo"), (2, 2, "cpu:gloo,cuda:nccl")])
def test_processes_that_share_a_gpu_use_gloo(gpus: int, here: int, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia(monkeypatch, gpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    assert processes.backend() == backend


def test_processes_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    nvidia(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in "012":
        monkeypatch.setenv("LOCAL_RANK", rank)
        processes.settle()
    assert chosen == [0, 1, 0]


def test_a_numbered_gpu_is_refused_for_many_processes(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = from_tables({**TABLES, "device": "cpu"}, registry)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(MeasureflowError, match="'cuda:0' would put every process of this machine on one GPU; 'cuda' spreads them"):
        device_of(attrs.evolve(experiment, device="cuda:0"))


def test_one_device_measured_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    cpu, gpu = (Row(device, "float32", "relu", "sums GRAD", "chunked", 10, 10, 3, 1.0) for device in ("cpu", "cuda"))
    new = attrs.evolve(gpu, seconds=2.0)
    costs = Costs((new,), {}, {"keops 1D": 1.0}).over(Costs((cpu, gpu), {}, {"compiled": 2.0}))
    assert costs.rows == (cpu, new)
    assert costs.first == {"compiled": 2.0, "keops 1D": 1.0}
    save(costs, tmp_path / "costs.json")
    assert read(tmp_path / "costs.json").measured_on("cuda")


def test_a_table_of_a_gpu_leaves_the_cpu_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from measureflow_plugins.reducers.autotune import planner as planning

    path = tmp_path / "own.json"
    save(Costs((Row("cuda", "float32", "relu", "sums GRAD", "chunked", 10, 10, 3, 1.0),), {}, {}), path)
    monkeypatch.setattr(planning, "tuned_path", lambda: path)
    planning.planner.cache_clear()
    try:
        assert planning.planner("cpu").where == "the shipped table"
        assert planning.planner("cuda").where == "this machine's table and the shipped one"
    finally:
        planning.planner.cache_clear()


def test_tiles_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU 2^20 numbers, on a GPU 2^25: there a launch costs as much as a small tile's products."""
    assert Chunked()._tile(torch.empty(1)) == 2**20
    assert Chunked()._tile(SimpleNamespace(device=CUDA)) == 2**25  # type: ignore[arg-type]
    assert Chunked(512)._tile(torch.empty(1)) == 512
    X = torch.randn(40, 3)
    assert torch.equal(Chunked().sums(Relu(), X, X, None, Need.GRAD).grad, Chunked(2**20).sums(Relu(), X, X, None, Need.GRAD).grad)


@pytest.mark.parametrize("lift", [Times(((1.0, 2.0, 0.5), (0.0, 1.0, 3.0), (1.0, 1.0, 1.0))), Waves(4, 3, 0, True)], ids=repr)
def test_constants_of_a_lift_go_to_a_device_once(lift: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.ones(5, 3, device="meta", dtype=torch.float64)
    lift.forward(points)
    copied = _copies(monkeypatch)
    for _ in range(3):
        lift.forward(points)
        lift.push(points, points)
    assert copied == []


def _copies(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every call that makes a tensor from numbers or takes one to another device, from now on."""
    made: list[object] = []
    real = torch.Tensor.to
    monkeypatch.setattr(torch, "tensor", lambda *given, **named: made.append(given))
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *given, **named: made.append(given) or real(self, *given, **named))
    return made


def test_birth_and_death_assigns_no_number_from_the_host() -> None:
    """Indexed assignment of a number copies it to the device, for which a GPU makes the host wait; no dispatched op may do so."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watched(TorchDispatchMode):
        hosts = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.copy_.default and args[1].device.type == "cpu":
                Watched.hosts += 1
            return func(*args, **(kwargs or {}))

    with Watched():
        parents(torch.empty(8, device="meta"), torch.empty(1, device="meta"))
    assert Watched.hosts == 0


def test_tf32_is_off_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    was = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        memory.exact(torch.device("cpu"))
        assert torch.backends.cuda.matmul.allow_tf32, "a run on the CPU leaves it as it is"
        memory.exact(CUDA)
        assert not torch.backends.cuda.matmul.allow_tf32
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
        facts = environment.environment(CUDA)
        assert (facts["tf32"], facts["environment"]) == (False, {"NVIDIA_TF32_OVERRIDE": "1"})
        json.dumps(facts)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = was
