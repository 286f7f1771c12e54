"""Nothing is lost or wrong after a kill at any moment, on a full disk, or in a folder that cannot be written."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from killed import MEASUREFLOW, OFTEN, Tally, until_done
from safetensors.torch import load_file
from small import TABLES, Shell
from test_run import done, same

from measureflow.cli import main
from measureflow.run.atomic import holding


def same_snapshots(one: str, two: str) -> None:
    left, right = (sorted(Path(run, "snapshots").iterdir()) for run in (one, two))
    assert [path.name for path in left] == [path.name for path in right]
    for a, b in zip(left, right, strict=True):
        once, again = load_file(a), load_file(b)
        assert once.keys() == again.keys()
        assert all(torch.equal(once[key], again[key]) for key in once), b


def killed_and_compared(shell: Shell, kills: int, steps: int) -> Tally:
    """Runs, each killed again and again, until there were so many kills; each ends as the uninterrupted one does."""
    tally, draw = Tally(), random.Random(1)
    while tally.kills < kills:
        seed = tally.runs
        file = shell.write({"seed": seed, "steps": steps}, OFTEN)
        subprocess.run([*MEASUREFLOW, "run", str(file), "--out", f"whole-{seed}", "--quiet"], check=True, timeout=300)
        until_done(file, Path(f"cut-{seed}"), tally, min(8, kills - tally.kills), draw)
        same(f"whole-{seed}", f"cut-{seed}")
        same_snapshots(f"whole-{seed}", f"cut-{seed}")
    return tally


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(shell: Shell) -> None:
    tally = killed_and_compared(shell, kills=4, steps=20)
    assert tally.kills == 4


# --- before every single change of a file ---

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.truncate")
SOME = pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.slow)])  # every change takes a minute
FEW = {**TABLES, "steps": 2, "observers": [{"kind": "checkpoint", "seconds": 0.0}, {"kind": "snapshots", "atoms": 5}]}


def killed_before(change: int, arguments: Sequence[str], run: str) -> bool:
    """The command in a process of its own, killed before it makes, opens, renames or removes that file of the run's."""
    child = os.fork()
    if not child:
        left = [change]

        def audit(event: str, about: tuple[object, ...]) -> None:
            if (
                event in CHANGES
                and isinstance(about[0], str | os.PathLike)
                and os.path.relpath(about[0]).lstrip(".").startswith(run)
            ):
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

        ended = 99
        try:
            sys.addaudithook(audit)
            main(arguments)
        except SystemExit as end:
            ended = int(end.code or 0)
        finally:
            os._exit(ended)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


def go_on(shell: Shell, run: str, *steps: object) -> None:
    """Resumes a run that was killed, maybe after its last checkpoint was written."""
    said = shell("resume", run, *steps)
    assert said.code == 0 or "already at step" in said.err, said
    assert "warning" not in said.err, "a kill alone leaves nothing that is damaged"


@SOME
def test_a_kill_before_any_change_of_a_file(shell: Shell, stride: int) -> None:
    file = shell.write(tables=FEW)
    done(shell("run", file, "--out", "whole"))
    for change in itertools.count(1, stride):
        run = f"cut{change}"
        alive = not killed_before(change, ["run", str(file), "--out", run, "--quiet"], run)
        if alive:
            break
        if Path(run).exists():
            go_on(shell, run)
        else:
            done(shell("run", file, "--out", run))
        same("whole", run)
        same_snapshots("whole", run)
    assert change > 50
    assert not list(Path().glob("cut*/**/.*"))


@SOME
def test_a_resumed_run_is_killed_before_any_change_of_a_file(shell: Shell, stride: int) -> None:
    done(shell("run", shell.write({"steps": 3}, FEW), "--out", "whole"))
    file = shell.write(tables=FEW)
    done(shell("run", file, "--out", "start", "--set", "steps=1"))
    for change in itertools.count(1, stride):
        run = f"cut{change}"
        shutil.copytree("start", run)
        if not killed_before(change, ["resume", run, "--steps", "3", "--quiet"], run):
            break
        go_on(shell, run, "--steps", 3)
        same("whole", run)
    assert change > 30


@pytest.mark.slow
def test_fifty_kills(shell: Shell) -> None:
    """`python -m pytest -m slow -s tests/run/test_crash.py` says what the kills hit."""
    tally = killed_and_compared(shell, kills=50, steps=40)
    print(tally)
    assert tally.kills >= 50
    assert tally.in_a_checkpoint >= 5


def test_two_processes_do_not_write_into_one_run(shell: Shell) -> None:
    assert shell("run", shell.write(), "--out", "new").code == 0
    with holding(Path("new")):
        said = shell("resume", "new", "--steps", "5")
        assert said.code == 2
        assert said.err == "error: new: another process is at work in it; wait for it, or take another folder\n"
    assert shell("resume", "new", "--steps", "5", "--quiet").code == 0
