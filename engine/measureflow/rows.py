"""Files of JSON lines, which grow by a line at a time: metrics.jsonl and events.jsonl."""

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from measureflow.errors import MeasureflowError
from measureflow.files import write, writing
from measureflow.opening import appending, read_bytes

LAST = 2**63  # steps fit into an int64
Row = dict[str, Any]


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one line to a file and waits until it is on the disk; raises WriteError."""
    with writing(path), appending(path) as file:
        put(file, row)
        os.fsync(file.fileno())


def put(file: io.FileIO, row: Mapping[str, Any]) -> None:
    """Adds one line to an open file: nothing waits in a buffer; a disk that is nearly full takes a part, and then says so."""
    content = (json.dumps(row) + "\n").encode()
    while content:
        content = content[file.write(content) :]


def read_rows(path: Path, sound: Callable[[Row], bool]) -> list[Row]:
    """The lines of a file that may be missing, a torn last one left out; each has a `step` and is `sound`.

    Raises MeasureflowError where a line is damaged or the file cannot be read.
    """
    try:
        lines = read_bytes(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MeasureflowError(f"{path}: cannot be read ({error})") from None
    return [_row(line, sound, f"{path}: line {number}") for number, line in enumerate(lines, 1)]


def _row(line: bytes, sound: Callable[[Row], bool], where: str) -> Row:
    try:
        row = json.loads(line)
        if type(row["step"]) is int and 0 <= row["step"] < LAST and sound(row):
            return dict(row)
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
        pass
    raise MeasureflowError(f"{where} is damaged; remove it to go on")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes lines, whole or not at all; raises WriteError."""
    write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
