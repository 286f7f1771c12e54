"""safetensors files: 8 bytes of the header's length, the header (JSON), then the tensors one after the other.

Of safetensors itself, `save_file` writes under a random name, which a killed process leaves behind, and for its owner only;
the tensors of `safe_open` are the file's own pages, and change or break with it.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, final

import attrs
import torch

from measureflow.opening import reading
from measureflow.run.atomic import replacing

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
TYPES = {name: kind for kind, name in NAMES.items()}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> str:
    """Writes tensors and named facts, whole or not at all; returns the sha256 of the file, raises WriteError."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # the widest first: all are aligned
    sha = hashlib.sha256()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for block in _blocks({name: tensors[name] for name in order}, facts):
            file.write(block)
            sha.update(block)
    return sha.hexdigest()


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, each in memory of its own; raises OSError, or ValueError if it holds anything else."""
    with reading(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = 8 + int.from_bytes(file.read(8), "little")
        if start > size:
            raise ValueError("its header is longer than the file")
        places = _places(file.read(start - 8), size - start)
        return {name: _read(file, start, place) for name, place in places.items()}


@final
@attrs.frozen
class _Place:
    """The type and shape of a tensor, and its bytes `first` to `stop` after the header."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    first: int
    stop: int


def _places(header: bytes, size: int) -> dict[str, _Place]:
    """The tensors that a header names, one after the other in `size` bytes, so that none claims more than there is."""
    try:
        places = {name: _place(each) for name, each in json.loads(header).items() if name != "__metadata__"}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its header is no table of tensors ({type(error).__name__}: {error})") from None
    ends = [0, *sorted(place.stop for place in places.values())]
    if sorted(place.first for place in places.values()) != ends[:-1] or ends[-1] != size:
        raise ValueError("its tensors do not fill the file one after the other")
    return places


def _place(raw: Any) -> _Place:
    """Raises ValueError, KeyError or TypeError if it is none."""
    dtype, shape, (first, stop) = TYPES[raw["dtype"]], tuple(raw["shape"]), raw["data_offsets"]
    if any(type(n) is not int or n < 0 for n in (*shape, first, stop)):
        raise ValueError("a shape or a place is not made of whole numbers")
    if stop - first != math.prod(shape) * dtype.itemsize:
        raise ValueError("a shape does not fit its place")
    return _Place(dtype, shape, first, stop)


def _read(file: BinaryIO, start: int, place: _Place) -> torch.Tensor:
    try:
        v = torch.empty(place.shape, dtype=place.dtype)
    except (RuntimeError, TypeError, OverflowError):  # no atoms, and more columns than an int64 counts
        raise ValueError("its header has a shape that no tensor has") from None
    file.seek(start + place.first)
    if file.readinto(_bytes(v)) != place.stop - place.first:  # type: ignore[attr-defined] # of the file that open gives
        raise ValueError("it ends too soon")
    return v


def _blocks(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    yield _header(tensors, facts)
    yield from map(_bytes, tensors.values())


def _header(tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> bytes:
    places: dict[str, Any] = {"__metadata__": dict(facts)} if facts else {}
    start = 0
    for name, v in tensors.items():
        stop = start + v.numel() * v.element_size()
        places[name] = {"dtype": NAMES[v.dtype], "shape": list(v.shape), "data_offsets": [start, stop]}
        start = stop
    text = json.dumps(places, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(v: torch.Tensor) -> memoryview:
    """What a tensor on the CPU holds, not copied where it is contiguous; a lone number may have any stride."""
    return v.contiguous().as_strided((v.numel(),), (1,)).view(torch.uint8).numpy().data
