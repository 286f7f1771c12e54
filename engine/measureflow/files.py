"""Writing files whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def create(folder: Path) -> None:
    """Makes a new folder; raises MeasureflowError where there is one already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise MeasureflowError(f"{folder}: exists already; give --out another folder, or `measureflow resume {folder}`") from None
    except OSError as error:
        raise MeasureflowError(f"{folder}: cannot be created ({error.strerror})") from None
