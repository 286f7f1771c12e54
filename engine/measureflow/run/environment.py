"""What a run was made with, for whoever wants to run it again."""

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from measureflow.opening import read_text

PACKAGES = ("measureflow", "torch", "pykeops", "numba", "numpy", "attrs", "cattrs", "pluggy", "safetensors")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, source revision, command line and the time of the start."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        **(_cuda() if device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "git": _git(),
        "argv": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _cuda() -> dict[str, Any]:
    """What a GPU's numbers and speed depend on besides the card."""
    driver = Path("/proc/driver/nvidia/version")
    return {
        "cuda": torch.version.cuda,
        "driver": read_text(driver).splitlines()[0] if driver.exists() else None,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "environment": {name: value for name, value in os.environ.items() if "TF32" in name},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git() -> str | None:
    """The revision of the measureflow sources, where they are a git checkout of their own."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
