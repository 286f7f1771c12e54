"""safetensors files: 8 bytes of the header's length, the header (JSON), then the tensors one after the other.

Of safetensors itself, `save_file` writes under a random name, which a killed process leaves behind, and for its owner only;
the tensors of `safe_open` are the file's own pages, and change or break with it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from measureflow.files import replacing

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
    """The tensors of a file, each in memory of its own; raises OSError or ValueError where there are none."""
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        places: dict[str, Any] = json.loads(file.read(start - 8))
        return {name: _read(file, start, place) for name, place in places.items() if name != "__metadata__"}


def _read(file: BinaryIO, start: int, place: Mapping[str, Any]) -> torch.Tensor:
    v = torch.empty(place["shape"], dtype=TYPES[place["dtype"]])
    first, stop = place["data_offsets"]
    file.seek(start + first)
    if file.readinto(_bytes(v)) != stop - first:  # type: ignore[attr-defined] # of the file that open gives
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
