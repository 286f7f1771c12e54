"""Timing side by side in one process, because a shared machine's speed drifts: turns alternate, medians are compared."""

import functools
import os
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from measureflow_plugins.reducers.autotune.clock import alternating

DEVICE = torch.device(os.environ.get("MEASUREFLOW_DEVICE", "cpu"))  # of every experiment that is timed
Work = Callable[[], object]


def medians(works: Mapping[str, Work], device: torch.device = DEVICE, rounds: int = 7, warmup: int = 2) -> dict[str, float]:
    """Median seconds of each work, run in turn `rounds` times after `warmup` turns that compile and fill caches."""
    times = alternating(list(works.values()), warmup + rounds, device)
    return {name: statistics.median(taken[warmup:]) for name, taken in zip(works, times, strict=True)}


def stepping(steps: Iterator[Any]) -> Work:
    """The work of taking one step more."""
    return functools.partial(next, steps)
