"""Writing files and folders whole or not at all, so that neither a kill nor a power cut leaves a part behind."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measureflow.errors import HeldError, MeasureflowError, WriteError
from measureflow.opening import check_own, create


def write(path: Path, content: bytes) -> None:
    """Writes `content` to a file, whole or not at all; raises WriteError."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """An empty temporary to write to, then synced and renamed: a reader sees the old file or the new one, never a part."""
    with writing(path):
        check_own(path)
    temporary = path.with_name(f".{path.name}.part")
    try:
        with writing(path):
            create(temporary)
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says against writing a file is raised as a WriteError that names it."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path}: cannot be written ({error.strerror or error})") from None


def remove(path: Path) -> None:
    """Removes a file, if it is there; raises WriteError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise WriteError(f"{path}: cannot be removed ({error.strerror or error})") from None


def sync(path: Path) -> None:
    """Waits until a file's content is on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system can do that."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network file systems know no such thing
            raise
    finally:
        os.close(opened)


def make(folder: Path) -> None:
    """Makes a folder, and those it lies in, where there is none; raises WriteError."""
    if not folder.is_dir():
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)


def check_links(run: Path) -> None:
    """Raises MeasureflowError if an entry of a run folder is a link: what is written or removed there would be elsewhere."""
    for path in run.iterdir():
        if path.is_symlink():
            raise MeasureflowError(f"{path}: is a link; put what it names in its place, since a run writes in its own folder only")


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """A folder that no other process holds meanwhile, where the system can do that; raises HeldError if one does.

    Nothing is written, and a process that is killed lets go.
    """
    if os.name == "nt":  # a folder cannot be opened there
        yield
        return
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(f"{folder}: another process is at work in it; wait for it, or take another folder") from None
        except OSError:  # some network file systems know no locks
            pass
        yield
    finally:
        os.close(opened)


@contextmanager
def arranging(folder: Path) -> Iterator[Path]:
    """A new folder under a temporary name, renamed when the block ends: others see all that was written into it, or no folder.

    Raises MeasureflowError where the folder exists already or cannot be created.
    """
    if folder.exists():
        raise _exists(folder)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        _creating(temporary, folder)
        yield temporary
        _rename(temporary, folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, WriteError):
            raise WriteError(str(error).replace(str(temporary), str(folder))) from None
        raise


def _creating(temporary: Path, folder: Path) -> None:
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise MeasureflowError(f"{folder}: cannot be created ({error.strerror})") from None


def _rename(temporary: Path, folder: Path) -> None:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):  # made by another process since
            raise _exists(folder) from None
        raise MeasureflowError(f"{folder}: cannot be created ({error.strerror})") from None
    try:
        sync_folder(folder.parent)
    except OSError as error:
        raise WriteError(
            f"{folder}: is there, but may not outlast a power cut ({error.strerror}); `measureflow resume {folder}` goes on in it"
        ) from None


def _exists(folder: Path) -> MeasureflowError:
    return MeasureflowError(f"{folder}: exists already; give --out another folder, or `measureflow resume {folder}`")
