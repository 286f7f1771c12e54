"""Real processes, started by torchrun over gloo: the path of one process, checkpoints for any number, and a death among them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import tomli_w
from small import TABLES

from measureflow.config.build import build
from measureflow.core.measure import System
from measureflow.plugins.registry import Registry
from measureflow.run.checkpoint.checkpoint import restored
from measureflow.run.checkpoint.manifest import indexes
from measureflow.run.metrics_log import read_metrics
from measureflow.run.runner import Asked, recorded, stage_of

TOLERANCE = 1e-12
PLAYERS = TABLES["measures"]
DUAL = {
    **TABLES,
    "name": "dual",
    "metrics": [{"kind": "kl", "every": 10}, {"kind": "mmd", "kernel": {"kind": "gaussian"}, "every": 50}],
}
MMD = {
    **DUAL,
    "name": "mmd",
    "measures": {"nu": {"init": {"kind": "data", "copies": 2}, "flows": [{"kind": "langevin", "temperature": 0.1}]}},
    "coupling": {"kind": "mmd", "feature": {"kind": "arc-cosine", "dim": 3}},
    "metrics": [{"kind": "objective", "every": 10}],
}


def written(folder: Path, tables: dict[str, Any], **changes: Any) -> Path:
    """An experiment of 100 steps in float64 whose walkers, data and test set are held in parts."""
    path = folder / f"{tables['name']}.toml"
    parts = {"steps": 100, "dtype": "float64", "sharded": ["nu", "data", "test"], "observers": ["checkpoint", "snapshots"]}
    path.write_text(tomli_w.dumps({**tables, **parts, **changes}))
    return path


def launched(ranks: int, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
    """The command line in so many processes of torchrun, or in one without it."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", f"--max-restarts={restarts}", "-m"]
    command = [sys.executable, "-m", *(torchrun if ranks > 1 else []), "measureflow", *map(str, arguments)]
    quiet = {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    return subprocess.Popen(command, env=os.environ | quiet, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(process: subprocess.Popen[str]) -> str:
    """What a command that succeeds wrote to standard error."""
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return err


def last(run: Path, registry: Registry) -> tuple[int, System]:
    """The step and the system of a run's newest checkpoint, and how many parts it has."""
    e = recorded(run, registry)
    index = indexes(run / "checkpoints")[-1]
    return len(json.loads(index.read_text())["parts"]), restored(index, build(e, registry).system, stage_of(e, Asked(run)))


def same(run: Path, other: Path, registry: Registry) -> None:
    (_, mine), (_, theirs) = last(run, registry), last(other, registry)
    assert mine.step == theirs.step
    assert mine.time == theirs.time
    for name, mu in theirs.measures.items():
        for part, tensor in mu.tensors.items():
            distance = float((mine[name].tensors[part].double() - tensor.double()).abs().max())
            assert distance <= TOLERANCE, f"{name}.{part} is off by {distance:.3g}"
    for row, wanted in zip(read_metrics(run), read_metrics(other), strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**wanted, "seconds": 0}, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("tables", [DUAL, MMD], ids=["dual-ebm", "mmd"])
def test_two_processes_take_the_path_of_one_and_resume_each_other(
    tables: dict[str, Any], tmp_path: Path, registry: Registry
) -> None:
    config = written(tmp_path, tables)
    one, two, grown, shrunk = (tmp_path / name for name in ("one", "two", "grown", "shrunk"))
    done(launched(1, "run", config, "--out", one, "--quiet"))
    done(launched(2, "run", config, "--out", two, "--quiet"))
    same(two, one, registry)
    assert last(two, registry)[0] == 2
    assert sorted(path.name for path in (two / "snapshots").iterdir()) == sorted(
        path.name for path in (one / "snapshots").iterdir()
    )
    for run, first, then in ((grown, 1, 2), (shrunk, 2, 1)):
        done(launched(first, "run", config, "--out", run, "--quiet", "--set", "steps=50"))
        done(launched(then, "resume", run, "--steps", 100, "--quiet"))
        assert last(run, registry)[0] == then
        same(run, one, registry)


def killed(process: subprocess.Popen[str], run: Path, rank: int) -> None:
    """SIGKILL to one rank, once a checkpoint is there."""
    deadline = time.monotonic() + 120
    while not indexes(run / "checkpoints"):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    for child in psutil.Process(process.pid).children():
        if child.environ().get("RANK") == str(rank):
            child.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_others_with_one_message(rank: int, tmp_path: Path, registry: Registry) -> None:
    config = written(tmp_path, DUAL, steps=100_000, observers=[{"kind": "checkpoint", "seconds": 0.0}])
    run = tmp_path / "run"
    process = launched(2, "run", config, "--out", run, "--quiet")
    killed(process, run, rank)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, err
    assert said[0].startswith("error: another process of this run ended")
    assert said[0].endswith(f"go on with: measureflow resume {run}")
    reached = last(run, registry)[1].step
    done(launched(1, "resume", run, "--steps", reached + 1, "--quiet"))
    assert last(run, registry)[1].step == reached + 1


def test_torchrun_restarts_a_run_where_it_was(tmp_path: Path, registry: Registry) -> None:
    changes = {"steps": 300, "observers": [{"kind": "checkpoint", "seconds": 0.0}]}
    config = written(tmp_path, DUAL, **changes)
    one, two = tmp_path / "one", tmp_path / "two"
    done(launched(1, "run", config, "--out", one, "--quiet"))
    process = launched(2, "run", config, "--out", two, "--quiet", restarts=1)
    killed(process, two, 1)
    done(process)
    same(two, one, registry)


def test_what_one_process_would_refuse_is_said_once(tmp_path: Path) -> None:
    config = written(tmp_path, DUAL)
    (tmp_path / "there").mkdir()
    process = launched(2, "run", config, "--out", tmp_path / "there")
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert [line for line in err.splitlines() if "exists already" in line] == [
        f"error: {tmp_path / 'there'}: exists already; give --out another folder, or `measureflow resume {tmp_path / 'there'}`"
    ]


def test_a_restart_resumes_no_run_of_another(tmp_path: Path, registry: Registry) -> None:
    """torchrun starts everyone anew after the refusal; the run in the folder, which could go on, is left as it was."""
    other = written(tmp_path, DUAL, name="other", steps=2)
    done(launched(1, "run", other, "--out", tmp_path / "old", "--quiet"))
    process = launched(2, "run", written(tmp_path, DUAL), "--out", tmp_path / "old", restarts=1)
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("exists already") == 2
    assert recorded(tmp_path / "old", registry).name == "other"


def test_a_restart_of_a_run_that_is_done_is_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = written(tmp_path, DUAL, steps=2)
    done(launched(1, "run", config, "--out", tmp_path / "run", "--quiet"))
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    done(launched(1, "run", config, "--out", tmp_path / "run", "--quiet"))


def test_too_many_processes_are_told_before_a_folder_is_there(tmp_path: Path) -> None:
    process = launched(2, "run", written(tmp_path, DUAL, sharded=["teacher"]), "--out", tmp_path / "run")
    _, err = process.communicate(timeout=120)
    assert "error: sharded: 'teacher' has 1 atoms for 2 processes; leave it out" in err.splitlines()
    assert not (tmp_path / "run").exists()
