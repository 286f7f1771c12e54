"""What a benchmark says: a table on the terminal, and the machine and versions beside its figures in the JSON file."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

PACKAGES = ("measureflow", "torch", "numpy", "numba", "pykeops", "jax", "torchebm")
BUSY = 10.0  # percent


def here(device: torch.device) -> dict[str, Any]:
    """The device, torch's threads, cores and what other processes take of them now, versions of what may be timed.

    Call it before the timing: with a core taken, every parallel region of torch waits for the scheduler.
    """
    taken = psutil.cpu_percent(interval=0.5)
    if taken > BUSY:
        print(f"\nother processes take {taken:.0f}% of the CPU: do not believe what follows")
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu {platform.machine()}",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "taken_percent": taken,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def against(seconds: Mapping[str, float], ours: str, absent: Mapping[str, str] | None = None) -> str:
    """Milliseconds of each, its ratio to `ours`, and a line for each that was not to be had."""
    rows = [(name, f"{1e3 * taken:.3f}", f"{taken / seconds[ours]:.3f}") for name, taken in seconds.items()]
    return table(("", "ms", f"of {ours}"), [*rows, *((name, why) for name, why in (absent or {}).items())])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns flush, the first to the left; a row may be short."""
    widths = [max(len(row[i]) for row in (head, *rows) if len(row) == len(head)) for i in range(len(head))]
    widths[0] = max(len(row[0]) for row in (head, *rows))
    lines = []
    for row in (head, *rows):
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([row[0].ljust(widths[0]), *(rest if len(row) == len(head) else row[1:])]))
    return "\n".join(lines)
