"""Files of JSON lines, which grow by a line at a time: metrics.jsonl and events.jsonl."""

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from measureflow.errors import MeasureflowError
from measureflow.files import write, writing


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one line to a file and waits until it is on the disk; raises WriteError."""
    with writing(path), path.open("ab", buffering=0) as file:
        put(file, row)
        os.fsync(file.fileno())


def put(file: io.FileIO, row: Mapping[str, Any]) -> None:
    """Adds one line to an open file: nothing waits in a buffer; a disk that is nearly full takes a part, and then says so."""
    content = (json.dumps(row) + "\n").encode()
    while content:
        content = content[file.write(content) :]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that may be missing, a torn last one left out; raises MeasureflowError where another is damaged."""
    rows = []
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(json.loads(line)))
        except ValueError:
            raise MeasureflowError(f"{path}: line {number} is damaged; remove it to go on") from None
    return rows


def _row(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or "step" not in found:
        raise ValueError(found)
    return found


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes lines, whole or not at all; raises WriteError."""
    write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
