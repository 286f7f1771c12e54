"""Nothing is lost or wrong after a kill at any moment, on a full disk, or in a folder that cannot be written."""

import random
import subprocess
from pathlib import Path

import pytest
import torch
from killed import MEASUREFLOW, OFTEN, Tally, until_done
from safetensors.torch import load_file
from small import Shell
from test_run import same


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
        until_done(file, Path(f"cut-{seed}"), tally, kills, draw)
        same(f"whole-{seed}", f"cut-{seed}")
        same_snapshots(f"whole-{seed}", f"cut-{seed}")
    return tally


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(shell: Shell) -> None:
    tally = killed_and_compared(shell, kills=4, steps=60)
    assert tally.kills == 4


@pytest.mark.slow
def test_fifty_kills(shell: Shell) -> None:
    """`python -m pytest -m slow -s tests/test_crash.py` says what the kills hit."""
    tally = killed_and_compared(shell, kills=50, steps=400)
    print(tally)
    assert tally.kills >= 50
    assert tally.in_a_checkpoint >= 5
