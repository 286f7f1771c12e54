"""Timing side by side in one process, because a shared machine's speed drifts: turns alternate, medians are compared."""

import statistics
from collections.abc import Callable

import torch

from measureflow_plugins.commands.timing import alternating


def medians(*works: Callable[[], object], rounds: int = 9, warmup: int = 2) -> list[float]:
    """Median seconds of each work on the CPU, run in turn `rounds` times after `warmup` turns."""
    times = alternating(works, warmup + rounds, torch.device("cpu"))
    return [statistics.median(taken[warmup:]) for taken in times]
