"""Commands run side by side, each with its output in a file; Ctrl-C stops them all and waits for what they write."""

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import attrs

from measureflow.interrupt import deferred_interrupt
from measureflow.opening import appending, read_bytes

PAUSE = 0.05  # seconds between two looks at the processes


@final
@attrs.frozen(eq=False)
class Job:
    """A command, the file that its output is added to, and what to tell when it ends: None, or the last line of its error."""

    command: Sequence[str]
    log: Path
    ended: Callable[[str | None], object]


@final
@attrs.frozen(eq=False)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    start: int  # where this run's output begins in the log

    def error(self) -> str | None:
        """None after a good end, else what it said last."""
        code = self.process.returncode
        if code == 0:
            return None
        said = read_bytes(self.job.log)[self.start :].decode(errors="replace").strip().splitlines()
        name = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return said[-1].strip() if said and code > 0 else name


def run_jobs(jobs: Sequence[Job], together: int, variables: Mapping[str, str]) -> None:
    """Runs every job, so many together, with these environment variables besides; raises KeyboardInterrupt after Ctrl-C."""
    waiting, running = deque(jobs), list[_Running]()
    try:
        with deferred_interrupt() as asked:
            while (waiting or running) and not asked():
                while waiting and len(running) < together:
                    running.append(_started(waiting.popleft(), variables))
                for each in [each for each in running if each.process.poll() is not None]:
                    running.remove(each)
                    each.job.ended(each.error())
                time.sleep(PAUSE)
            if asked():
                raise KeyboardInterrupt
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()


def _started(job: Job, variables: Mapping[str, str]) -> _Running:
    """In a session of its own: Ctrl-C reaches a member once, from here, and not a second time from the terminal."""
    with appending(job.log) as log:
        start = log.tell()
        process = subprocess.Popen(
            job.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, **variables}, start_new_session=True,
        )  # fmt: skip
    return _Running(job, process, start)
