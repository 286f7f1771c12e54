"""`python tests/_support/fuzz.py --cases 12000 --seed 0`: malformed input, each through the command line.

A case is sound where every command ends with exit code 0 or 2, says in the second case which file or key is at fault,
takes less than 20 s of work (and 120 s of waiting), and no more memory than ten times its files and 200 MB.
"""

import argparse
import collections
import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import hypothesis
import tomli_w
from fuzz_cases import BESIDE, TARGETS, Case, cases

from measureflow.cli import main

SECONDS = 20  # of work; six times as long on a clock
MEMORY = 200 * 2**20  # beside ten times the files
FREE = types.SimpleNamespace(available=MEMORY // 2)  # the memory that an experiment is told of
SHARES = {"tables": 0.35, "text": 0.15, "set": 0.15, "data": 0.2, "folder": 0.15}
KEY = re.compile(r"--set|\b(?:measures|metrics|observers|coupling|data|order|reducer|device|step|steps|in_place)[.:( ]")
RUN: dict[str, Any] = {
    "name": "small",
    "steps": 2,
    "step": 0.01,
    "data": {"kind": "teacher", "neurons": [[1.0, 0.0, 0.0]], "weights": [-3.0], "train": 8, "test": 6},
    "measures": {
        "nu": {"init": "data", "flows": ["langevin"]},
        "gamma": {"init": {"kind": "uniform", "size": 4}, "flows": ["wfr"]},
    },
    "coupling": {"kind": "dual-ebm", "feature": "relu"},
    "metrics": [{"kind": "tv"}, {"kind": "kl"}],
    "observers": ["checkpoint", "snapshots"],
    "reducer": "chunked",
}


See = Callable[[Case, "Verdict"], None]


class HangError(BaseException):
    """A command took too long; no `except Exception` catches it."""


@attrs.frozen
class Verdict:
    """How a case ended: accepted, refused, or failed with what was wrong."""

    kind: str
    why: str = ""


def template() -> dict[str, bytes]:
    """The files of a small run, by their path under run/."""
    Path("run.toml").write_text(tomli_w.dumps(RUN))
    ended = given(("run", "run.toml", "--out", "run", "--quiet"))
    assert ended[0] == 0, ended
    return {str(path): path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


def given(arguments: tuple[str, ...]) -> tuple[int | str, str]:
    """(exit code, or what else ended it; what was said) of one command, here."""
    out, err = io.StringIO(), io.StringIO()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 6 * SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as stop:
        return (stop.code or 0) if isinstance(stop.code, int | None) else str(stop.code), err.getvalue()
    except (Exception, HangError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}", err.getvalue()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return 0, err.getvalue()


def lay(case: Case, run: Mapping[str, bytes]) -> None:
    """Makes the current folder what the case says: its files, a run, a second good run."""
    for path in Path().iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    everything: dict[str, Any] = {**run, **{name.replace("run/", "good/", 1): part for name, part in run.items()}, **case.files}
    for name, content in everything.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "":
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)


def judged(case: Case, run: Mapping[str, bytes]) -> Verdict:
    """Gives the case's commands, until one is refused, and says whether all of it was sound."""
    lay(case, run)
    for arguments in case.commands:
        before = memory(reset=True)
        code, said = given(arguments)
        grown = memory() - before
        if grown > 10 * case.size + MEMORY:
            return Verdict("failed", f"{arguments[0]}: {grown / 2**20:.0f} MB for {case.size} bytes ({said[:200]})")
        if code not in (0, 2) or "Traceback" in said:
            return Verdict("failed", f"{arguments[0]}: ended with {code}: {said[:600]}")
        if code == 2 and not placed(case, said):
            return Verdict("failed", f"{arguments[0]}: names no place: {said[:600]}")
        if code == 2:
            return Verdict("refused", said)
    return Verdict("accepted")


def placed(case: Case, said: str) -> bool:
    """Whether a message names a file of the case, the run or a key."""
    if said.startswith("Usage:"):
        return "Error:" in said
    return "error: " in said and bool(KEY.search(said) or any(name in said for name in (*case.files, "run", "points")))


def memory(reset: bool = False) -> int:
    """Bytes: what the process holds now, or with `reset` False the most since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(rf"{'VmRSS' if reset else 'VmHWM'}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """An empty current folder, an alarm that ends what hangs, and little memory free, whatever this machine has.

    A thousand million points fit into a large machine and take their time there: nothing is wrong with that.
    """

    def late(*_: object) -> None:
        raise HangError(f"more than {SECONDS} s")

    back, before = Path.cwd(), {number: signal.signal(number, late) for number in (signal.SIGALRM, signal.SIGPROF)}
    with tempfile.TemporaryDirectory() as folder, mock.patch("psutil.virtual_memory", return_value=FREE):
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(back)
            for number, handler in before.items():
                signal.signal(number, handler)


def tried(target: str, number: int, run: Mapping[str, bytes], seed: int | None, see: See = lambda *_: None) -> list[Verdict]:
    """Draws and judges so many cases of one target, shown to `see` as they come; without a seed they are always the same."""
    found: list[Verdict] = []

    def each(case: Case) -> None:
        if len(found) < number:
            found.append(judged(case, run))
            see(case, found[-1])

    test: Any = hypothesis.given(cases(target, run))(each)
    settings = hypothesis.settings(
        max_examples=number, deadline=None, database=None, derandomize=seed is None, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    test = settings(test)
    (test if seed is None else hypothesis.seed(seed)(test))()
    return found


def in_a_process(case: Case, run: Mapping[str, bytes]) -> Verdict:
    """The case's first command in a process of its own."""
    lay(case, run)
    done = subprocess.run([sys.executable, "-m", "measureflow", *case.commands[0]], capture_output=True, text=True, timeout=60)
    sound = done.returncode in (0, 2) and "Traceback" not in done.stderr and (done.returncode == 0 or placed(case, done.stderr))
    return Verdict("accepted" if done.returncode == 0 else "refused" if sound else "failed", done.stderr)


@attrs.define
class Told:
    """What has been found so far: counts by target and end, and the kinds of failures, told at the first of each."""

    keep: Path | None
    counts: collections.Counter[tuple[str, str]] = attrs.field(factory=collections.Counter)
    failures: set[str] = attrs.field(factory=set)

    def see(self, case: Case, verdict: Verdict) -> None:
        self.counts[case.target, verdict.kind] += 1
        kind = re.sub(r"\d+(?:\.\d+)?|'[^']*'", "_", verdict.why)[:120]
        if verdict.kind == "failed" and kind not in self.failures:
            self.failures.add(kind)
            print(f"--- {len(self.failures)}: {verdict.why.strip()}\n    {case.commands}", flush=True)
            if self.keep:
                self._store(case, self.keep / str(len(self.failures)))

    def _store(self, case: Case, folder: Path) -> None:
        for name, content in case.files.items():
            if isinstance(content, bytes) and content != BESIDE.get(name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)

    def tell(self, title: str, *targets: str) -> int:
        """Prints how the cases of these targets ended; returns the number of failures."""
        ends = {end: sum(self.counts[target, end] for target in targets) for end in ("accepted", "refused", "failed")}
        print(f"{title:8} {sum(ends.values()):6} cases: " + ", ".join(f"{n} {end}" for end, n in ends.items()), flush=True)
        return ends["failed"]


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--keep", type=Path, help="A folder for the files of the first case of each failure.")
    options = parser.parse_args()
    told = Told(options.keep and options.keep.resolve())
    with workplace():
        run, sample = template(), list[Case]()
        for target in [options.target] if options.target else TARGETS:
            number = options.cases if options.target else round(options.cases * SHARES[target])

            def see(case: Case, verdict: Verdict, every: int = number // 3 or 1) -> None:
                told.see(case, verdict)
                if sum(told.counts.values()) % every == 0:
                    sample.append(attrs.evolve(case, target="process"))

            tried(target, number, run, options.seed, see)
            told.tell(target, target)
        for case in sample:  # some of them once more, each in a process of its own
            told.see(case, in_a_process(case, run))
    told.tell("process", "process")
    sys.exit(1 if told.tell("in all", *TARGETS, "process") else 0)


if __name__ == "__main__":
    command()
