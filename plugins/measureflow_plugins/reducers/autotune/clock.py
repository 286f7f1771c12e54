"""Timing side by side: a machine whose speed drifts treats works alike that take turns."""

import time
from collections.abc import Callable, Sequence

import torch


def alternating(works: Sequence[Callable[[], object]], rounds: int, device: torch.device) -> list[list[float]]:
    """Seconds of each work in each of `rounds`, in turn, so that a machine whose speed drifts treats them alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, taken in zip(works, times, strict=True):
            taken.append(timed(work, device))
    return times


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds until `work` is done on the device."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
