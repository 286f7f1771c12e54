"""Commands run side by side, each with its output in a file; Ctrl-C stops them all and waits for what they write."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

import attrs

from measureflow.opening import appending, read_bytes
from measureflow.run.interrupt import deferred_interrupt

PAUSE = 0.05  # seconds between two looks at the processes
OUTSIDE = 75  # the exit code of a failure that is not the experiment's: its folder is held, or cannot be written
STOPPED = 130  # that of a run that Ctrl-C or SIGTERM stopped


@final
@attrs.frozen
class Failure:
    """A bad end of a command: its exit code, below 0 where a signal killed it, and the last line that it wrote."""

    code: int
    text: str

    @property
    def final(self) -> bool:
        """Whether running it again would give the same."""
        return self.code > 0 and self.code not in (OUTSIDE, STOPPED)


@final
@attrs.frozen(eq=False)
class Job:
    """What to run, None while it has to wait; the file that its output is added to; and what to call with its failure, or None."""

    command: Callable[[], Sequence[str] | None]
    log: Path
    ended: Callable[[Failure | None], object]


@final
@attrs.frozen(eq=False)
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    start: int  # where this run's output begins in the log

    def failure(self) -> Failure | None:
        """How it failed; None after a good end."""
        code = self.process.returncode
        if code == 0:
            return None
        said = read_bytes(self.job.log)[self.start :].decode(errors="replace").strip().splitlines()
        name = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Failure(code, said[-1].strip() if said and code > 0 else name)

    def close(self) -> None:
        """Closes our end of its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.close()


def run_jobs(jobs: Sequence[Job], together: int, variables: Mapping[str, str]) -> None:
    """Runs every job, so many together, with these environment variables besides; raises KeyboardInterrupt after Ctrl-C."""
    waiting, running = list(jobs), list[_Running]()
    try:
        with deferred_interrupt() as asked:
            while (waiting or running) and not asked():
                for job in list(waiting):
                    if len(running) < together and (command := job.command()) is not None:
                        waiting.remove(job)
                        running.append(_started(job, command, variables))
                for each in [each for each in running if each.process.poll() is not None]:
                    running.remove(each)
                    each.close()
                    each.job.ended(each.failure())
                time.sleep(PAUSE)
            if asked():
                raise KeyboardInterrupt
    finally:
        for each in running:
            each.process.terminate()
        for each in running:
            each.process.wait()
            each.close()


def _started(job: Job, command: Sequence[str], variables: Mapping[str, str]) -> _Running:
    """In a session of its own: Ctrl-C reaches a member once, from here, and not a second time from the terminal.

    Its standard input is a pipe from here, so that it can see this process end.
    """
    with appending(job.log) as log:
        start = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, **variables}, start_new_session=True,
        )  # fmt: skip
    return _Running(job, process, start)
