"""The command line as a member runs it: it stops when the process that started it is gone, and says whose fault an end was.

The parent holds the other end of standard input, which closes with it however it dies.
"""

import os
import signal
import sys
import threading

from measureflow.cli import main
from measureflow.errors import HeldError, WriteError
from measureflow_tools.sweeps.processes import OUTSIDE


def _watch() -> None:
    """Waits until standard input is closed, then stops this process as SIGTERM does: with a checkpoint."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def launch() -> None:
    """The command line, watched; ends as it does, or with OUTSIDE."""
    threading.Thread(target=_watch, daemon=True).start()
    try:
        main()
    except SystemExit as ended:  # `main` exits while it handles the error
        if isinstance(ended.__context__, HeldError | WriteError):
            sys.exit(OUTSIDE)
        raise


if __name__ == "__main__":
    launch()
