"""Files of JSON lines, which grow by a line at a time: metrics.jsonl and events.jsonl."""

import io
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from measureflow.errors import MeasureflowError
from measureflow.opening import appending, read_bytes
from measureflow.run.atomic import write, writing

LAST = 2**63  # steps fit into an int64
Row = dict[str, Any]
T = TypeVar("T")


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

    def checked(row: Row) -> Row:
        if type(row["step"]) is int and 0 <= row["step"] < LAST and sound(row):
            return dict(row)
        raise ValueError

    return read_lines(path, checked)


def read_lines(path: Path, parsed: Callable[[Any], T]) -> list[T]:
    """What `parsed` makes of each line of a file that may be missing, a torn last one left out.

    Raises MeasureflowError if the file cannot be read, or if `parsed` raises what a value of the wrong type makes it raise.
    """
    try:
        lines = read_bytes(path).split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise MeasureflowError(f"{path}: cannot be read ({error})") from None
    return [_parsed(line, parsed, f"{path}: line {number}") for number, line in enumerate(lines, 1)]


def _parsed(line: bytes, parsed: Callable[[Any], T], where: str) -> T:
    try:
        return parsed(json.loads(line))
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
        raise MeasureflowError(f"{where} is damaged; remove it to go on") from None


def trim(path: Path) -> None:
    """Drops a torn last line, to which the next would be added; raises WriteError."""
    if path.exists():
        with writing(path):
            content = read_bytes(path)
        write(path, content[: content.rfind(b"\n") + 1])


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes lines, whole or not at all; raises WriteError."""
    write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
