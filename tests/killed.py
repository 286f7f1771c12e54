"""Runs that are killed for real (SIGKILL) at drawn moments, and gone on with until they are done."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from small import TABLES

MEASUREFLOW = (sys.executable, "-m", "measureflow")
TORN = re.compile(r"\..*\.part")
PART = re.compile(r"(step-\d+)\.part-.*")

# Checkpoints at every step, of 100,000 walkers in d = 3 (1.2 MB, synced): writing them takes much of the time.
OFTEN: dict[str, Any] = {
    **TABLES,
    "steps": 150,
    "data": {**TABLES["data"], "train": 50_000, "test": 100},
    "metrics": [{"kind": "tv"}, {"kind": "kl", "every": 7}],
    "observers": [{"kind": "checkpoint", "seconds": 0.0}, {"kind": "snapshots", "atoms": 100, "count": 6}, {"kind": "curves"}],
}


@attrs.define
class Tally:
    """How many kills there were, and what they hit."""

    kills: int = 0
    before_the_folder: int = 0
    before_a_checkpoint: int = 0
    in_a_checkpoint: int = 0  # temporaries, or parts without their index, lay in checkpoints/
    elsewhere_in_a_file: int = 0  # temporaries in other folders of the run, a torn line of metrics
    runs: int = 0

    def count(self, run: Path) -> None:
        """Looks at what a kill left."""
        self.kills += 1
        kept = run / "checkpoints"
        if not run.exists():
            self.before_the_folder += 1
        elif not list(kept.glob("*.json")):
            self.before_a_checkpoint += 1
        self.in_a_checkpoint += being_written(kept)
        torn = [path for path in run.rglob("*") if TORN.fullmatch(path.name) and path.parent != kept]
        metrics = run / "metrics.jsonl"
        self.elsewhere_in_a_file += bool(torn) or (metrics.exists() and metrics.read_bytes()[-1:] not in (b"", b"\n"))

    def __str__(self) -> str:
        named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in attrs.asdict(self).items())
        return f"killed: {named}"


def being_written(folder: Path) -> bool:
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    parts = [found[1] for found in map(PART.fullmatch, names) if found]
    return any(TORN.fullmatch(name) for name in names) or any(f"{step}.json" not in names for step in parts)


def until_done(file: Path, run: Path, tally: Tally, kills: int, draw: random.Random) -> None:
    """Starts a run, kills it at drawn moments, goes on, and so on; after `kills` kills it is left alone."""
    tally.runs += 1
    most = tally.kills + kills
    while True:
        command = (*MEASUREFLOW, "resume", str(run)) if run.exists() else (*MEASUREFLOW, "run", str(file), "--out", str(run))
        if _ended(command, run, tally.kills < most, draw):
            return
        tally.count(run)


def _ended(command: Sequence[str], run: Path, kill: bool, draw: random.Random) -> bool:
    """One life: to its end, or killed, mostly soon after it has begun to move, else at any time of its start."""
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        if kill:
            if draw.random() < (0.8 if run.exists() else 0.4):
                _wait_for_rows(process, run)
                time.sleep(draw.uniform(0.0, 1.5))
            else:
                time.sleep(draw.uniform(0.5, 3.0))
            process.kill()
        out, _ = process.communicate(timeout=300)
    assert process.returncode in ((0, -9) if kill else (0,)), out.decode()
    assert not out, "a kill alone leaves nothing that is damaged, and so nothing to warn of"
    return process.returncode == 0


def _wait_for_rows(process: subprocess.Popen[bytes], run: Path) -> None:
    """Until the process has appended a row, after it wrote the file anew if it resumes."""
    path = run / "metrics.jsonl"
    before = path.stat().st_ino if path.exists() else None
    while process.poll() is None:
        if path.exists() and path.stat().st_ino != before and path.stat().st_size:
            return
        time.sleep(0.002)
