"""What only a GPU shows: pytest --gpu tests/reduction/test_gpu.py; test_cuda.py and test_no_wait.py need none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch
from small import TABLES, readable
from torch import Tensor

from measureflow.config import structure as config
from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.measure import Need, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics.divergence import sound
from measureflow.dynamics.simulate import advance
from measureflow.observe.observer import measured
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.reducers import keops

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.toml"))
CUDA = torch.device("cuda")
SLOW = ("gap", "nll", "sinkhorn", "kernel-stein", "nikaido-isoda")  # metrics of minutes
DRAWS = ("denoising",)  # its coupling draws by itself, on the device
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU: pytest --gpu on a machine with one")


@attrs.frozen(eq=False)
class Host(Noise):
    """A noise drawn on the CPU, wherever it is wanted."""

    noise: Noise

    def at(self, *key: str | int) -> "Host":
        return Host(self.noise.at(*key))

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.normal_rows(rows, width, like.cpu(), draw).to(like.device)

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return self.noise.uniform_rows(rows, like.cpu(), draw).to(like.device)

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.index_rows(rows, high, like.cpu(), draw).to(like.device)


def there(system: System) -> System:
    return System({name: mu.to(CUDA) for name, mu in system.measures.items()}, system.step, system.time)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_two_steps_and_metrics_agree_with_the_cpu(path: Path, registry: Registry) -> None:
    """In float64, from one start and with the CPU's draws: 1e-10 is a thousand roundings of the largest sums."""
    if path.stem in DRAWS:
        pytest.skip("its coupling draws noise on the device, which has other draws")
    experiment = from_tables({**readable(path), "device": "cpu", "dtype": "float64"}, registry)
    built = build(experiment, registry)
    dynamics = attrs.evolve(built.dynamics, reducer=Chunked(), noise=Host(Keyed(0)))
    view = attrs.evolve(built.view, reducer=Chunked(), noise=Host(Keyed(0)))
    metrics = [probe.metric for probe in experiment.metrics if probe.metric.kind not in SLOW]
    here, far = built.system, there(built.system)
    for _ in range(2):
        here, far = advance(dynamics, here), advance(dynamics, far)
    for name in dynamics.flows:
        for key, tensor in here[name].tensors.items():
            torch.testing.assert_close(far[name].tensors[key].cpu(), tensor, rtol=1e-10, atol=1e-10)
    row = measured(here, view, metrics)
    assert measured(far, view, metrics) == pytest.approx(row, rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_step_does_not_synchronise(path: Path, registry: Registry) -> None:
    built = build(from_tables({**readable(path), "device": "cpu"}, registry), registry)
    dynamics = attrs.evolve(built.dynamics, reducer=Chunked())
    first = advance(dynamics, there(built.system))  # constants are copied to the device at their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        sound(advance(dynamics, first), dynamics)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("phi", [Relu(), Gaussian(length=2.0)], ids=str)
@pytest.mark.parametrize("scheme", ["1D", "2D"])
def test_keops_agrees_with_products(phi: Relu | Gaussian, scheme: keops.Scheme) -> None:
    if why := keops.trouble("cuda"):
        pytest.skip(f"KeOps cannot run on this GPU: {why}")
    X, Y = (torch.randn(rows, 15, dtype=torch.float64, device=CUDA) for rows in (500, 300))
    ours, others = (reducer.sums(phi, X, Y, None, Need.GRAD).grad for reducer in (Chunked(), keops.KeOps(scheme)))
    torch.testing.assert_close(others, ours, rtol=1e-10, atol=1e-10)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    _measureflow(tmp_path, "run", _file(tmp_path), "--out", whole, "--set", "steps=12", "--quiet")
    _measureflow(tmp_path, "run", _file(tmp_path), "--out", cut, "--set", "steps=6", "--quiet")
    _measureflow(tmp_path, "resume", cut, "--steps", "12", "--quiet")
    assert _rows(whole) == _rows(cut)


def test_a_run_on_the_cpu_goes_on_to_be_one_on_the_gpu(tmp_path: Path) -> None:
    """The world is the same on both, so that the resumed run finds the data it was made with."""
    cut = tmp_path / "cut"
    _measureflow(tmp_path, "run", _file(tmp_path), "--out", cut, "--set", "steps=6", "--set", "device='cpu'", "--quiet")
    resolved = cut / "resolved.toml"
    resolved.write_text(resolved.read_text().replace('device = "cpu"', 'device = "cuda"'))
    _measureflow(tmp_path, "resume", cut, "--steps", "12", "--quiet")


def test_two_processes_on_one_gpu_equal_one(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = ("--set", "steps=6", "--set", "dtype='float64'", "--set", "sharded=['nu']", "--quiet")
    _measureflow(tmp_path, "run", _file(tmp_path), "--out", one, *settings)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "measureflow"]
    _done(tmp_path, [*launch, "run", _file(tmp_path), "--out", two, *settings])
    for first, second in zip(_rows(one), _rows(two), strict=True):
        assert second == pytest.approx(first, rel=1e-9)


def _file(folder: Path) -> Path:
    file = folder / "small.toml"
    file.write_text(config.dumps({**TABLES, "device": "cuda"}))
    return file


def _measureflow(folder: Path, *arguments: object) -> None:
    _done(folder, [sys.executable, "-m", "measureflow", *map(str, arguments)])


def _done(folder: Path, command: list[object]) -> None:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr


def _rows(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]
