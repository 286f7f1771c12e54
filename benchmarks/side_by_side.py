"""Timing side by side in one process, because a shared machine's speed drifts: turns alternate, medians are compared."""

import statistics
import time
from collections.abc import Callable


def medians(*works: Callable[[], object], rounds: int = 9, warmup: int = 2) -> list[float]:
    """Median seconds of each work, run in turn `rounds` times after `warmup` turns."""
    for _ in range(warmup):
        for work in works:
            work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]
