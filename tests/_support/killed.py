"""Runs that are killed for real (SIGKILL) at drawn moments, and gone on with until they are done."""

import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from small import TABLES

MEASUREFLOW = (sys.executable, "-m", "measureflow")
TORN = re.compile(r"\..*\.part")
PART = re.compile(r"(step-\d+)\.part-.*")
Left = frozenset[tuple[Path, int]]

# Checkpoints at every step, of 20,000 walkers in d = 3 (0.25 MB, synced): writing them takes much of the time.
OFTEN: dict[str, Any] = {
    **TABLES,
    "steps": 150,
    "data": {**TABLES["data"], "train": 10_000, "test": 100},
    "metrics": [{"kind": "tv"}, {"kind": "kl", "every": 7}],
    "observers": [{"kind": "checkpoint", "seconds": 0.0}, {"kind": "snapshots", "atoms": 100, "count": 6}, {"kind": "curves"}],
}


@attrs.define
class Tally:
    """How many kills there were, and what they hit."""

    kills: int = 0
    before_the_folder: int = 0
    before_a_checkpoint: int = 0
    in_a_checkpoint: int = 0  # a temporary, or a part without its index, lay in checkpoints/
    elsewhere_in_a_file: int = 0  # temporaries in other folders of the run, a torn line of metrics
    runs: int = 0

    def count(self, run: Path, before: Left) -> None:
        """Looks at what a kill left that was not there before the life that it ended."""
        self.kills += 1
        if not run.exists():
            self.before_the_folder += 1
        elif not list((run / "checkpoints").glob("*.json")):
            self.before_a_checkpoint += 1
        new = left(run) - before
        self.in_a_checkpoint += begun(new)
        self.elsewhere_in_a_file += any(path.parent.name != "checkpoints" for path, _ in new)

    def __str__(self) -> str:
        named = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in attrs.asdict(self).items())
        return f"killed: {named}"


def left(run: Path) -> Left:
    """What writing that has not ended leaves, with its time: temporaries, parts without an index, a torn line."""
    found = [path for path in run.rglob("*") if TORN.fullmatch(path.name)]
    parts = [(path, PART.fullmatch(path.name)) for path in run.glob("checkpoints/*")]
    found += [path for path, part in parts if part and not path.with_name(f"{part[1]}.json").exists()]
    metrics = run / "metrics.jsonl"
    found += [metrics] if metrics.exists() and metrics.read_bytes()[-1:] not in (b"", b"\n") else []
    times = set[tuple[Path, int]]()
    for path in found:
        with suppress(FileNotFoundError):  # written or renamed meanwhile
            times.add((path, path.stat().st_mtime_ns))
    return frozenset(times)


def begun(new: Left) -> bool:
    return any(path.parent.name == "checkpoints" for path, _ in new)


def until_done(file: Path, run: Path, tally: Tally, kills: int, draw: random.Random) -> None:
    """Starts a run, kills it at drawn moments, goes on, and so on; after `kills` kills it is left alone."""
    tally.runs += 1
    most = tally.kills + kills
    while True:
        command = (*MEASUREFLOW, "resume", str(run)) if run.exists() else (*MEASUREFLOW, "run", str(file), "--out", str(run))
        before = left(run)
        if _ended(command, run, tally.kills < most, draw):
            return
        tally.count(run, before)


def _ended(command: Sequence[str], run: Path, kill: bool, draw: random.Random) -> bool:
    """One life: to its end, or killed."""
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        if kill:
            _wait(process, run, draw)
            process.kill()
        out, _ = process.communicate(timeout=300)
    if b": already at step " in out:
        return True  # the life before was killed after its last checkpoint, on its way out
    assert process.returncode in ((0, -9) if kill else (0,)), out.decode()
    assert not out, f"a kill alone leaves nothing that is damaged, and so nothing to warn of: {out.decode()}"
    return process.returncode == 0


def _wait(process: subprocess.Popen[bytes], run: Path, draw: random.Random) -> None:
    """Until a drawn time of the start, or soon after the process has written a row, or has begun a checkpoint."""
    how = draw.choice(("start", "row", "checkpoint", "checkpoint") if run.exists() else ("start", "start", "row", "checkpoint"))
    if how == "start":
        time.sleep(draw.uniform(0.5, 3.0))
        return
    metrics = run / "metrics.jsonl"
    before = metrics.stat().st_ino if metrics.exists() else None  # a resumed run writes the file anew
    moved, lay = False, left(run)
    while process.poll() is None and not (moved and (how == "row" or begun(left(run) - lay))):
        moved = moved or (metrics.exists() and metrics.stat().st_ino != before)
        time.sleep(0.0005)
    time.sleep(draw.uniform(0.0, 0.5) if how == "row" else draw.uniform(0.0, 0.002))  # a checkpoint takes some milliseconds
