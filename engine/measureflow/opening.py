"""Opening files that others may have made: only regular ones, since a FIFO or a device can block a reader or never end."""

import io
import os
import stat
from pathlib import Path

FLAGS = getattr(os, "O_NONBLOCK", 0)  # a FIFO put there between the look and the opening does not block either
NO_LINK = FLAGS | getattr(os, "O_NOFOLLOW", 0)


def check_regular(path: Path) -> None:
    """Raises OSError if a file is missing, or is a FIFO, a device or a socket; a folder refuses to be opened by itself."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError("it is no regular file")


def check_own(path: Path) -> None:
    """Raises OSError if something that is no regular file, a link included, has the name of a file to be written."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(f"a {_name(mode)} has that name; remove it, or choose another name")


def _name(mode: int) -> str:
    return "link" if stat.S_ISLNK(mode) else "folder" if stat.S_ISDIR(mode) else "FIFO, device or socket"


def reading(path: Path) -> io.BufferedReader:
    """A regular file, open for reading; raises OSError."""
    check_regular(path)
    return io.BufferedReader(io.FileIO(path, opener=lambda name, flags: os.open(name, flags | FLAGS)))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; raises OSError."""
    with reading(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """The content of a regular file in UTF-8; raises OSError or UnicodeDecodeError."""
    with io.TextIOWrapper(reading(path), encoding="utf-8") as file:
        return file.read()


def appending(path: Path) -> io.FileIO:
    """A regular file, open for adding to its end and made if there is none, never through a link; raises OSError."""
    check_own(path)
    return io.FileIO(path, "ab", opener=lambda name, flags: os.open(name, flags | NO_LINK, 0o666))


def create(path: Path) -> None:
    """Makes an empty file; what had its name, a link or a FIFO among others, is removed and never opened; raises OSError."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666))
