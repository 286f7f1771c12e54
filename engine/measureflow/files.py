"""Writing files whole or not at all."""

import os
from pathlib import Path

from measureflow.errors import MeasureflowError


def write(path: Path, content: bytes) -> None:
    """Writes to a temporary name, syncs, renames: a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise MeasureflowError(f"{path}: cannot be written ({error.strerror})") from None


def create(folder: Path) -> None:
    """Makes a new folder; raises MeasureflowError where there is one already."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise MeasureflowError(f"{folder}: exists already; give --out another folder, or `measureflow resume {folder}`") from None
    except OSError as error:
        raise MeasureflowError(f"{folder}: cannot be created ({error.strerror})") from None
