"""The parts of a checkpoint: safetensors files with rows of measures, each with an entry for the index that vouches for it.

A part holds NAME.points, NAME.sign, NAME.log_mass and NAME.marks.MARK of the measures it has rows of. What is broadcast
over the atoms is stored as its one value, without a dimension of rows.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import torch

from measureflow.core.measure import Particles
from measureflow.errors import DamageError
from measureflow.opening import reading
from measureflow.run.checkpoint.safetensors_file import read_tensors, save_tensors

Tensors = dict[str, torch.Tensor]
Rows = dict[str, list[int]]  # of each measure in a part: start, stop, whole


class Entry(TypedDict):
    """What the index says of a part: the file's name, its sha256 and size, and which rows of which measures it holds."""

    name: str
    sha256: str
    bytes: int
    rows: Rows


def part_name(step: int, k: int, n: int) -> str:
    """The name of part k of the n parts of a checkpoint."""
    return f"step-{step:09d}.part-{k}-of-{n}.safetensors"


def save_part(folder: Path, step: int, measures: Mapping[str, Particles], k: int = 0, n: int = 1) -> Entry:
    """Writes part k of n, the rows of the measures that are held here, whole or not at all; raises WriteError.

    A measure that is whole in one part is left out of the others.
    """
    path = folder / part_name(step, k, n)
    tensors = {f"{name}.{key}": tensor for name, mu in measures.items() for key, tensor in values(mu).items()}
    sha256 = save_tensors(path, tensors, {})
    rows = {name: _rows(mu) if n > 1 else [0, mu.size, mu.size] for name, mu in measures.items()}
    return Entry(name=path.name, sha256=sha256, bytes=path.stat().st_size, rows=rows)


def _rows(mu: Particles) -> list[int]:
    return [mu.offset, mu.offset + mu.size, mu.whole]


def read_part(folder: Path, entry: Entry) -> Tensors:
    """The tensors of a part on the CPU, read after its checksum was found right; raises DamageError."""
    path = folder / entry["name"]
    try:
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise DamageError(f"{path}: has {size:,} bytes of {entry['bytes']:,}")
        if _sha256(path) != entry["sha256"]:
            raise DamageError(f"{path}: its checksum is not the one that was recorded; its content has changed")
        return read_tensors(path)
    except FileNotFoundError:
        raise DamageError(f"{path}: is missing") from None
    except (OSError, ValueError) as error:
        raise DamageError(f"{path}: cannot be read ({error})") from None


def values(mu: Particles) -> Tensors:
    """The tensors of a measure on the CPU; one that is broadcast as its one value."""
    once = {k: v[0] if v.shape[0] and v.stride(0) == 0 else v for k, v in mu.tensors.items()}
    return {k: v.detach().cpu().contiguous() for k, v in once.items()}


def _sha256(path: Path) -> str:
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
