"""Members: experiments by name, run side by side as processes of their own, in one folder.

NAME.toml is what `measureflow run` takes, NAME/ the run folder, NAME.log what the run said.
"""

import functools
import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import attrs
import torch

from measureflow import config
from measureflow.api import MeasureflowError
from measureflow.checkpoint import newest_step
from measureflow.config import Raw
from measureflow.files import holding, make, write
from measureflow.log import read_metrics
from measureflow.opening import read_bytes
from measureflow_plugins.sweeps.processes import Job, run_jobs


def _fits_a_folder(_: Any, __: Any, value: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._=,-]*", value):
        raise ValueError(f"{value!r} names a folder: letters, digits and '._-=,' only, starting with a letter or a digit")


@final
@attrs.frozen(eq=False)
class Member:
    """An experiment's tables, checked already, under a name that fits a folder; `settings` say what sets it apart."""

    name: str = attrs.field(validator=_fits_a_folder)
    tables: Raw
    settings: Mapping[str, Any] = attrs.field(factory=dict)

    @classmethod
    def of(cls, name: str, tables: Raw, settings: Mapping[str, Any]) -> "Member":
        """The member whose tables are `tables` with the values at dotted paths changed."""
        return cls(name, config.changes(tables, settings), settings)


@final
@attrs.frozen
class Outcome:
    """What became of a member; `metrics` has the last value of each, `seconds` the run's time, `error` its last line."""

    name: str
    settings: Mapping[str, Any]
    seed: int
    folder: str
    status: Literal["done", "failed", "missing"]
    metrics: Mapping[str, float]
    seconds: float
    error: str = ""


def run_all(
    members: Sequence[Member], folder: Path, jobs: int = 1, see: Callable[[Outcome], object] = lambda outcome: None
) -> list[Outcome]:
    """Runs in `folder`, `jobs` at a time, every member that is not done there; gives the outcome of each, in order.

    A member that was begun goes on from its checkpoint; one that fails does not stop the rest. `see` is called with each
    outcome as it comes. Ctrl-C stops the members, which write checkpoints, and raises KeyboardInterrupt; the same call goes on.
    Raises MeasureflowError where `folder` has a member of that name with other tables, or is at work elsewhere.
    """
    make(folder)
    outcomes: dict[str, Outcome] = {}

    def ended(member: Member, error: str | None) -> None:
        outcomes[member.name] = outcome(member, folder, error)
        see(outcomes[member.name])

    with holding(folder):
        _write(members, folder)
        waiting = []
        for member in members:
            if outcome(member, folder).status == "done":
                ended(member, None)
            else:
                waiting.append(Job(_command(member, folder), folder / f"{member.name}.log", functools.partial(ended, member)))
        jobs = max(1, min(jobs, len(waiting)))
        run_jobs(waiting, jobs, {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))})
    return [outcomes[member.name] for member in members]


def outcome(member: Member, folder: Path, error: str | None = None) -> Outcome:
    """What `folder` has of a member, which failed where an `error` is given."""
    run = folder / member.name
    try:
        rows = read_metrics(run)
    except MeasureflowError as damage:
        rows, error = [], str(damage)
    last: dict[str, float] = functools.reduce(lambda before, row: before | row, rows, {})
    metrics = {name: value for name, value in last.items() if name not in ("step", "seconds")}
    status: Literal["done", "failed", "missing"] = "done" if _reached(run) >= member.tables["steps"] else "missing"
    status = status if error is None else "failed"
    seed = member.tables.get("seed", 0)
    return Outcome(member.name, member.settings, seed, str(run), status, metrics, last.get("seconds", 0.0), error or "")


def _reached(run: Path) -> int:
    """The step of a run's newest checkpoint, -1 where there is none."""
    found = newest_step(run)
    return -1 if found is None else found


def _write(members: Sequence[Member], folder: Path) -> None:
    """NAME.toml of every member; nothing where one is there with other tables."""
    texts = {folder / f"{member.name}.toml": config.dumps(member.tables).encode() for member in members}
    for path, text in texts.items():
        if path.exists() and read_bytes(path) != text:
            raise MeasureflowError(f"{path}: is there already and says otherwise; give --out another folder")
    for path, text in texts.items():
        write(path, text)


def _command(member: Member, folder: Path) -> Sequence[str]:
    """Goes on with a run, from step 0 if it has no checkpoint, or starts anew in place of what is none."""
    run, measureflow = folder / member.name, (sys.executable, "-m", "measureflow")
    if _reached(run) >= 0 or (run / "environment.json").is_file():
        return (*measureflow, "resume", str(run), "--quiet")
    if run.exists() and any(run.iterdir()) and not any((run / name).exists() for name in ("config.toml", "resolved.toml")):
        raise MeasureflowError(f"{run}: is in the way and is no run folder; move it, or give --out another folder")
    shutil.rmtree(run, ignore_errors=True)
    return (*measureflow, "run", str(folder / f"{member.name}.toml"), "--out", str(run), "--quiet")


def save_index(outcomes: Sequence[Outcome], folder: Path) -> None:
    """index.json: every outcome, by member."""
    write(folder / "index.json", json.dumps([attrs.asdict(each) for each in outcomes], indent=1).encode())
