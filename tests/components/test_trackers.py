"""Trackers write what the run measured, at its steps, into the run folder, and reach nothing outside it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small import TABLES, Said, Shell


def done(said: Said) -> Said:
    assert said.code == 0, said
    return said


def measured(run: str, name: str) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row[name]) for row in rows if name in row]


def scalars(run: str) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard itself reads."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(Path(run, "tensorboard")))
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def tracked(shell: Shell, tracker: str | dict[str, Any], **changes: Any) -> Path:
    return shell.write(changes, {**TABLES, "observers": ["checkpoint", tracker]})


def test_tensorboard_reads_every_metric_at_its_step(shell: Shell) -> None:
    done(shell("run", tracked(shell, "tensorboard", steps=8), "--out", "new"))
    found = scalars("new")
    assert found.keys() == {"kl", "tv"}
    for name, points in found.items():
        assert [step for step, _ in points] == [step for step, _ in measured("new", name)]
        assert [value for _, value in points] == pytest.approx([value for _, value in measured("new", name)])
    assert [step for step, _ in found["kl"]] == [0, 7, 8]


def test_tensorboard_after_a_resume_has_no_step_twice(shell: Shell) -> None:
    done(shell("run", tracked(shell, "tensorboard"), "--out", "new"))
    done(shell("resume", "new", "--steps", 8))
    assert [step for step, _ in scalars("new")["kl"]] == [0, 7, 8]
    assert [step for step, _ in scalars("new")["tv"]] == list(range(9))


BLOCKED = """
import socket
from pathlib import Path

def refused(host, *rest, **options):
    Path("asked").write_text(str(host))
    raise OSError("no network in a test")

socket.getaddrinfo = refused
from measureflow.cli import main
main()
"""


def test_wandb_keeps_an_offline_run_in_the_run_folder(shell: Shell) -> None:
    """In a process of its own, at whose end wandb would send what it gathered about itself; it looks no host up."""
    home = {name: str(shell.folder / "home") for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    kept = {name: value for name, value in os.environ.items() if name not in ("WANDB_ERROR_REPORTING", "WANDB_MODE")}
    file = tracked(shell, {"kind": "wandb", "project": "mine"})
    command = [sys.executable, "-c", BLOCKED, "run", file, "--out", "new"]
    ended = subprocess.run(command, env=kept | home, capture_output=True, text=True)
    assert ended.returncode == 0, ended
    assert not Path("asked").exists()
    (folder,) = Path("new/wandb").glob("offline-run-*")
    (file,) = folder.glob("*.wandb")
    written = file.read_bytes()
    assert b"mine" in written
    for name in ("kl", "tv"):
        assert repr(measured("new", name)[-1][1])[:8].encode() in written
    assert {path.name for path in Path().iterdir()} <= {"small.toml", "new", "home"}


@pytest.mark.parametrize(("kind", "module"), [("tensorboard", "tensorboard"), ("wandb", "wandb")])
def test_without_its_package_a_tracker_says_what_to_install(
    shell: Shell, kind: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    said = shell("run", tracked(shell, kind), "--out", "new")
    assert said.code == 2
    assert f"observers: {kind} needs {module}, which cannot be imported" in said.err
    assert "pip install 'measureflow[trackers]'" in said.err


def test_wandb_is_offline_unless_asked(shell: Shell) -> None:
    said = done(shell("check", tracked(shell, "wandb")))
    assert 'mode = "offline"' in said.out
