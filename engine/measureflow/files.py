"""Writing files whole or not at all."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measureflow.errors import MeasureflowError


def write(path: Path, content: bytes) -> None:
    """Writes `content` to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to, then synced and renamed: a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MeasureflowError(f"{path}: cannot be written ({error.strerror or error})") from None


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one JSON line to a file and waits until it is on the disk."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MeasureflowError(f"{path}: cannot be written ({error.strerror or error})") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file that may be missing, a torn last one left out; raises MeasureflowError where another is damaged."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            raise MeasureflowError(f"{path}: line {number} is damaged; remove it to go on") from None
    return rows


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines, whole or not at all."""
    write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def create(folder: Path) -> None:
    """Makes a new folder; raises MeasureflowError where there is one already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise MeasureflowError(f"{folder}: exists already; give --out another folder, or `measureflow resume {folder}`") from None
    except OSError as error:
        raise MeasureflowError(f"{folder}: cannot be created ({error.strerror})") from None
