"""Arrays from files: .npy, .npz, .csv and .safetensors, opened for reading only."""

import functools
import io
import itertools
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from measureflow.errors import MeasureflowError, unknown
from measureflow.opening import check_regular, reading

DEFLATED = 1032  # bytes that one compressed byte can stand for, at most
PACKED = 10  # bytes that one stands for in an array of more than SMALL bytes: points of any use have no more
SMALL = 2**26
KNOWN = (".npy", ".npz", ".csv", ".safetensors")
Reader = Callable[[], np.ndarray]


def read_array(
    path: Path, where: str, key: str | None = None, columns: tuple[int, ...] | None = None, header: int = 0
) -> np.ndarray:
    """A float64 array (n, d) from a file: `key` picks one of several arrays, `columns` some columns, `header` skips lines.

    Raises MeasureflowError that names the key in the config, the file and what would have worked.
    """
    if path.suffix not in KNOWN:
        raise MeasureflowError(f"{where}: {path} has no known ending; known: {', '.join(KNOWN)}")
    try:
        array = _picked(_arrays(path, header), key, f"{where}: {path}")()
    except MeasureflowError:
        raise
    except FileNotFoundError:
        raise MeasureflowError(f"{where}: no such file: {path} (paths are taken from the folder you run in)") from None
    except Exception as error:  # whatever a parser raises on bytes of another kind
        raise MeasureflowError(f"{where}: {path} cannot be read as {path.suffix}: {_cause(error)}") from None
    if array.dtype.kind not in "biuf":
        raise MeasureflowError(f"{where}: {path} holds {array.dtype}; real numbers are needed")
    array = array.astype(np.float64)
    if array.ndim != 2:
        raise MeasureflowError(f"{where}: {path} holds an array of shape {array.shape}; points are rows (n, d)")
    if columns is not None:
        if len(set(columns)) < len(columns):
            raise MeasureflowError(f"{where}: columns names a column twice; name each once")
        if max(columns, default=0) >= array.shape[1] or min(columns, default=0) < 0:
            raise MeasureflowError(
                f"{where}: {path} has columns 0 to {array.shape[1] - 1}; columns = {list(columns)} goes beyond them"
            )
        array = array[:, list(columns)]
    return array


def _arrays(path: Path, header: int) -> dict[str, Reader]:
    """What reads each array of a file, by its name."""
    check_regular(path)
    if path.suffix == ".csv":
        return {"": functools.partial(_csv, path, header)}
    if path.suffix == ".safetensors":
        return {name: functools.partial(np.asarray, array) for name, array in load_file(path).items()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return {part.filename.removesuffix(".npy"): functools.partial(_member, path, part) for part in archive.infolist()}
    return {"": functools.partial(_alone, path)}


def _alone(path: Path) -> np.ndarray:
    with reading(path) as file:
        return _npy(file, path.stat().st_size)


def _csv(path: Path, header: int) -> np.ndarray:
    here = path.absolute()
    return _table(here, header, here.stat().st_mtime_ns, here.stat().st_size)


@functools.lru_cache(maxsize=4)  # parsing is slow, and a file is asked for its space, its sizes and its points
def _table(path: Path, header: int, changed: int, size: int) -> np.ndarray:
    with io.TextIOWrapper(reading(path), encoding="utf-8") as file:
        rows = itertools.islice((line for line in file if line.strip() and not line.lstrip().startswith("#")), header, None)
        first = next(rows, None)
        if first is None:
            return np.empty((0, 0))
        try:
            return np.loadtxt(itertools.chain([first], rows), delimiter=",", ndmin=2)
        except ValueError as error:
            if "could not convert" in str(error):
                raise ValueError(f"{error}; header = {header + 1} skips a line of names") from None
            raise


def _member(path: Path, part: zipfile.ZipInfo) -> np.ndarray:
    """An array of an archive; raises ValueError if it is packed as numpy packs none, or has far more bytes than the file."""
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{part.filename} is packed in a way that numpy does not use; np.savez writes one that can be read")
    packed = min(part.compress_size, path.stat().st_size)
    if part.file_size > max(SMALL, PACKED * packed):
        raise ValueError(
            f"{part.filename} has {part.file_size:,} bytes packed into {packed:,}, more than {PACKED} to 1; "
            "np.savez writes it unpacked"
        )
    with zipfile.ZipFile(path) as archive, archive.open(part) as file:
        return _npy(file, min(part.file_size, DEFLATED * packed))


def _npy(file: IO[bytes], size: int) -> np.ndarray:
    """An array of an .npy file of `size` bytes, whose header is held against it before memory is taken."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or (claimed > size and not dtype.hasobject):
        raise ValueError(f"its header says {shape} of {dtype}, {claimed:,} bytes, and the file has {size:,}")
    file.seek(0)
    return cast("np.ndarray", np.lib.format.read_array(file, allow_pickle=False))


def _cause(error: Exception) -> str:
    """The reason without numpy's advice, which is about its own arguments."""
    if any(word in str(error) for word in ("pickle", "Object arrays", "magic string")):
        return "it is no array, or holds Python objects, which are never loaded"
    if not isinstance(error, ValueError | OSError | EOFError | SafetensorError | zipfile.BadZipFile) or not str(error):
        return f"its bytes are damaged ({type(error).__name__})"
    return str(error).splitlines()[0].partition("; use `usecols`")[0]


def _picked(found: Mapping[str, Reader], key: str | None, where: str) -> Reader:
    if not found:
        raise MeasureflowError(f"{where} holds no array")
    if key is None and len(found) == 1:
        return next(iter(found.values()))
    if key is None:
        raise MeasureflowError(f"{where} holds several arrays; name one with key = ...; known: {', '.join(sorted(found))}")
    if key not in found:
        raise MeasureflowError(f"{where}: {unknown('array', key, [name for name in found if name])}")
    return found[key]
