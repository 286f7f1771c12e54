"""Measures as runs save them: NAME.points, NAME.sign and NAME.log_mass in a .safetensors file."""

import json
import math
import re
from pathlib import Path

import torch
from torch import Tensor

from measureflow.errors import MeasureflowError, unknown
from measureflow.opening import reading
from measureflow.run.checkpoint.safetensors_file import read_tensors

KEYS = ("points", "sign", "log_mass")


def read_measure(path: Path, name: str) -> dict[str, Tensor]:
    """Points (n, d) of a measure, with signs and log-masses (n,), or () if all are equal; raises MeasureflowError.

    A snapshot keeps some of the atoms: their masses are raised to those of all.
    """
    try:
        tensors, facts = read_tensors(path), _facts(path)
        found = {key.removesuffix(".points") for key in tensors if key.endswith(".points")}
        if name not in found:
            raise MeasureflowError(f"measure: {path}: {unknown('measure', name, found)}")
        parts = {key: tensors[f"{name}.{key}"] for key in KEYS}
        whole = int(facts[name]["whole"]) if facts else len(parts["points"])
    except FileNotFoundError:
        raise MeasureflowError(f"path: no such file: {path} (paths are taken from the folder you run in)") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MeasureflowError(f"path: {path} cannot be read as a snapshot or the part of a checkpoint ({error})") from None
    if re.search(r"\.part-\d+-of-(?!1\.)\d+\.safetensors$", path.name):
        raise MeasureflowError(f"path: {path} is one of several parts of a checkpoint; take a snapshot, which has all in one file")
    return _checked(parts, whole, path)


def _facts(path: Path) -> dict[str, dict[str, int]]:
    """What a snapshot says of its measures; empty for the part of a checkpoint."""
    with reading(path) as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    facts: dict[str, dict[str, int]] = json.loads(header.get("__metadata__", {}).get("measures", "{}"))
    return facts


def _checked(parts: dict[str, Tensor], whole: int, path: Path) -> dict[str, Tensor]:
    """The parts of a measure of `whole` atoms, scaled up to its mass; raises MeasureflowError if they do not fit together."""
    points, sign, log_mass = (parts[key] for key in KEYS)
    n = len(points) if points.ndim == 2 else 0
    if n == 0 or whole < n or any(part.shape not in ((), (n,)) for part in (sign, log_mass)):
        raise MeasureflowError(f"path: {path} holds no atoms, or their signs and masses do not fit them; save it again")
    if not bool((sign.abs() == 1).all() and torch.isfinite(log_mass).all()):
        raise MeasureflowError(f"path: {path} has signs other than 1 and -1, or masses that are not finite; save it again")
    return {**parts, "log_mass": log_mass + math.log(whole / n)}
