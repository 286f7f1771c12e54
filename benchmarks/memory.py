"""Peak resident memory of a piece of work, in a process of its own; Linux only."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = str(Path(__file__).parent)
RESET = Path("/proc/self/clear_refs")


def alone(module: str, function: str, *arguments: object) -> tuple[Any, float]:
    """(what `function(registry, *arguments)` of a module of this folder gives, MiB by which it raised the peak).

    Imports, plugins, torch's first product and numba, if it is there, do not count. Skips the test where the system does
    not tell peaks.
    """
    if not RESET.exists():
        pytest.skip("no /proc/self/clear_refs here: the peak of memory is read on Linux alone")
    code = f"import sys; sys.path.insert(0, {HERE!r}); import memory; memory.tell({module!r}, {function!r}, {arguments!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    given, added = json.loads(done.stdout.splitlines()[-1])
    return given, added


def tell(module: str, function: str, arguments: tuple[object, ...]) -> None:
    """Runs the work in this process and writes what it gave, and the memory it added, to stdout."""
    import dual
    import torch

    from measureflow.api import advance
    from measureflow.plugins.registry import load
    from measureflow_plugins.reducers.autotune.candidates import uncompiled
    from measureflow_plugins.reducers.compiled import Compiled
    from measureflow_tools.analysis.timing import through

    work, registry = getattr(importlib.import_module(module), function), load()
    torch.mm(torch.ones(64, 64), torch.ones(64, 64)).sum()
    if not uncompiled():
        small = dual.built(registry, 100)
        advance(through(Compiled(), small.dynamics), small.system)  # imports numba and compiles, which takes its own memory
    RESET.write_text("5")  # the peak starts anew
    before = _mebibytes("VmRSS")
    given = work(registry, *arguments)
    print("\n" + json.dumps([given, _mebibytes("VmHWM") - before]))


def _mebibytes(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
