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
import click
import torch

from measureflow.api import MeasureflowError
from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.errors import HeldError
from measureflow.opening import read_bytes
from measureflow.run.atomic import holding, make, write
from measureflow.run.checkpoint.checkpoint import newest_step
from measureflow.run.metrics_log import read_metrics
from measureflow_tools.sweeps.processes import Failure, Job, run_jobs

Status = Literal["done", "failed", "missing"]


FITS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=,-]*")


def _fits_a_folder(_: Any, __: Any, value: str) -> None:
    if not FITS.fullmatch(value):
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
    """What became of a member; `metrics` has the last value of each, `seconds` the run's time, `error` its last line.

    "missing": it has not run to its end, for no fault of its own. "failed": running it again gives the same.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int
    folder: str
    status: Status
    metrics: Mapping[str, float]
    seconds: float
    error: str = ""


def run_all(
    members: Sequence[Member], folder: Path, jobs: int = 1, see: Callable[[Outcome], object] = lambda outcome: None
) -> list[Outcome]:
    """Runs in `folder`, `jobs` at a time, every member that is not done there; gives the outcome of each, in order.

    A member that was begun goes on from its checkpoint, after whatever process is at work in its run folder; one that fails
    does not stop the rest. `see` is called with each outcome as it comes. Ctrl-C stops the members, which write checkpoints,
    and raises KeyboardInterrupt; the same call goes on.
    Raises MeasureflowError if `folder` has a member of that name with other tables, or is at work elsewhere.
    """
    make(folder)
    outcomes: dict[str, Outcome] = {}

    def ended(member: Member, failure: Failure | None) -> None:
        outcomes[member.name] = outcome(member, folder, failure)
        see(outcomes[member.name])

    with holding(folder):
        _write(members, folder)
        waiting = []
        for member in members:
            if outcome(member, folder).status == "done":
                ended(member, None)
            else:
                _claim(folder / member.name)
                command, log = functools.partial(_command, member, folder), folder / f"{member.name}.log"
                waiting.append(Job(command, log, functools.partial(ended, member)))
        jobs = max(1, min(jobs, len(waiting)))
        run_jobs(waiting, jobs, {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // jobs))})
    return [outcomes[member.name] for member in members]


def outcome(member: Member, folder: Path, failure: Failure | None = None) -> Outcome:
    """What `folder` has of a member, the last run of which may have ended in a failure."""
    run = folder / member.name
    error, status = "" if failure is None else failure.text, _status(member, run, failure)
    try:
        rows = read_metrics(run)
    except MeasureflowError as damage:
        rows, error, status = [], str(damage), "failed"
    last: dict[str, float] = functools.reduce(lambda before, row: before | row, rows, {})
    metrics = {name: value for name, value in last.items() if name not in ("step", "seconds")}
    return Outcome(
        member.name, member.settings, member.tables.get("seed", 0), str(run), status, metrics, last.get("seconds", 0.0), error
    )


def _status(member: Member, run: Path, failure: Failure | None) -> Status:
    """A run at its last step is done, whatever else went wrong; one that was killed or stopped has not failed."""
    if _reached(run) >= member.tables["steps"]:
        return "done"
    return "failed" if failure is not None and failure.final else "missing"


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


def _claim(run: Path) -> None:
    """Raises MeasureflowError if the name of a run folder is taken by what is none; says if its run has to be waited for."""
    if run.exists() and any(run.iterdir()) and not any((run / name).exists() for name in ("config.toml", "resolved.toml")):
        raise MeasureflowError(f"{run}: is in the way and is no run folder; move it, or give --out another folder")
    if _busy(run):
        click.echo(f"{run}: another process is at work in it; waiting until it ends", err=True)


def _busy(run: Path) -> bool:
    """Whether a process is at work in a run folder: one of an earlier call that is still stopping, say."""
    try:
        with holding(run):
            return False
    except FileNotFoundError:
        return False
    except HeldError:
        return True


def _command(member: Member, folder: Path) -> Sequence[str] | None:
    """Goes on with a run, from step 0 if it has no checkpoint, or starts over in place of what is none; None while it is held.

    -P keeps the working folder, in which there may be any code, out of the members.
    """
    run = folder / member.name
    if _busy(run):
        return None
    launch = (sys.executable, "-P", "-m", "measureflow_tools.sweeps.launch")
    if _reached(run) >= 0 or (run / "environment.json").is_file():
        return (*launch, "resume", str(run), "--quiet")
    shutil.rmtree(run, ignore_errors=True)
    return (*launch, "run", str(folder / f"{member.name}.toml"), "--out", str(run), "--quiet")


def save_index(outcomes: Sequence[Outcome], folder: Path) -> None:
    """index.json: every outcome, by member."""
    write(folder / "index.json", json.dumps([attrs.asdict(each) for each in outcomes], indent=1).encode())
