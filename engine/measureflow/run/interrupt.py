"""Ctrl-C, SIGTERM and SIGHUP (a closed terminal), held back until a run can stop between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HANGUP = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Holds Ctrl-C, SIGTERM and SIGHUP back until the step is done and shown; a second Ctrl-C interrupts at once.

    Yields a function that says whether one has come. Python lets only the main thread listen; elsewhere nothing is held back.
    """
    came: list[int] = []

    def note(number: int, _: object) -> None:
        if came and number != HANGUP:  # a closed terminal sends more than one
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
