"""What a run trained is where another run starts: init `file` with a measure of a snapshot or of a checkpoint."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small import TABLES, Shell
from test_run import done

from measureflow.api import Particles, Registry, build, load
from measureflow.run.checkpoint.safetensors_file import read_tensors

STEP = "step-000000003"
CHECKPOINT, SNAPSHOT = f"train/checkpoints/{STEP}.part-0-of-1.safetensors", f"train/snapshots/{STEP}.safetensors"


def trained(shell: Shell, **snapshots: int) -> None:
    given = {"observers": ["checkpoint", {"kind": "snapshots", **snapshots}]}
    done(shell("run", shell.write(given), "--out", "train", "--quiet"))


def sampling(path: str, **init: object) -> dict[str, Any]:
    """Samples exp(-f) of the neurons in a file."""
    return {
        **TABLES,
        "data": {"kind": "space", "domain": "sphere", "dim": 3},
        "coupling": {"kind": "gibbs", "feature": "relu", "measure": "gamma"},
        "measures": {
            "nu": {"init": {"kind": "uniform", "size": 10}, "flows": ["langevin"]},
            "gamma": {"init": {"kind": "file", "path": path, "measure": "gamma", **init}},
        },
        "metrics": ["tv"],
    }


@pytest.mark.parametrize("path", [CHECKPOINT, SNAPSHOT])
def test_a_trained_energy_is_sampled(shell: Shell, registry: Registry, path: str) -> None:
    trained(shell)
    file = shell.write(tables=sampling(path))
    gamma = build(load(file, registry), registry).system["gamma"]
    saved = read_tensors(Path(CHECKPOINT))
    assert isinstance(gamma, Particles)
    torch.testing.assert_close(gamma.sign, saved["gamma.sign"].expand(8), rtol=0, atol=0)
    torch.testing.assert_close(gamma.log_mass, saved["gamma.log_mass"].expand(8), rtol=0, atol=0)
    assert saved["gamma.log_mass"].unique().numel() > 1  # masses that training changed
    done(shell("run", file, "--out", "sample", "--quiet"))
    after = read_tensors(Path(f"sample/checkpoints/{STEP}.part-0-of-1.safetensors"))
    torch.testing.assert_close(after["gamma.points"], gamma.points, rtol=0, atol=0)  # no flow moves it


def test_a_snapshot_of_some_atoms_has_the_mass_of_all(shell: Shell, registry: Registry) -> None:
    trained(shell, atoms=4)
    gamma = build(load(shell.write(tables=sampling(SNAPSHOT)), registry), registry).system["gamma"]
    kept = read_tensors(Path(SNAPSHOT))["gamma.log_mass"].exp().sum()
    assert gamma.size == 4
    torch.testing.assert_close(gamma.log_mass.exp().sum(), 2 * kept)


@pytest.mark.parametrize(
    ("path", "init", "words"),
    [
        (CHECKPOINT, {"measure": "gama"}, "unknown measure 'gama'; known: gamma, nu (did you mean 'gamma'?)"),
        (CHECKPOINT, {"tv": 2.0}, "measure brings its own points, signs and masses"),
        (SNAPSHOT.replace(STEP, "step-9"), {}, "measures.gamma.init.path: no such file"),
        ("small.toml", {}, "cannot be read as a snapshot or the part of a checkpoint"),
        ("part.part-0-of-2.safetensors", {}, "one of several parts of a checkpoint"),
    ],
)
def test_a_file_that_does_not_hold_the_measure(shell: Shell, path: str, init: dict[str, object], words: str) -> None:
    trained(shell)
    Path("part.part-0-of-2.safetensors").write_bytes(Path(CHECKPOINT).read_bytes())
    said = shell("check", shell.write(tables=sampling(path, **init)))
    assert said.code == 2
    assert words in said.err
