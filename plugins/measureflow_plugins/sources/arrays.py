"""Arrays from files: .npy, .npz, .csv and .safetensors, opened for reading only."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from measureflow.errors import MeasureflowError, unknown

KNOWN = (".npy", ".npz", ".csv", ".safetensors")


def read_array(
    path: Path, where: str, key: str | None = None, columns: tuple[int, ...] | None = None, header: int = 0
) -> np.ndarray:
    """A float64 array (n, d) from a file: `key` picks one of several arrays, `columns` some columns, `header` skips lines.

    Raises MeasureflowError that names the key in the config, the file and what would have worked.
    """
    if path.suffix not in KNOWN:
        raise MeasureflowError(f"{where}: {path} has no known ending; known: {', '.join(KNOWN)}")
    try:
        found = _read(path, header)
    except FileNotFoundError:
        raise MeasureflowError(f"{where}: no such file: {path} (paths are taken from the folder you run in)") from None
    except (OSError, ValueError, SafetensorError, EOFError) as error:
        raise MeasureflowError(f"{where}: {path} cannot be read as {path.suffix}: {_cause(error)}") from None
    array = _picked(found, key, f"{where}: {path}")
    if array.dtype.kind not in "biuf":
        raise MeasureflowError(f"{where}: {path} holds {array.dtype}; real numbers are needed")
    array = array.astype(np.float64)
    if array.ndim != 2:
        raise MeasureflowError(f"{where}: {path} holds an array of shape {array.shape}; points are rows (n, d)")
    if columns is not None:
        if max(columns, default=0) >= array.shape[1] or min(columns, default=0) < 0:
            raise MeasureflowError(
                f"{where}: {path} has columns 0 to {array.shape[1] - 1}; columns = {list(columns)} goes beyond them"
            )
        array = array[:, list(columns)]
    return array


def _read(path: Path, header: int) -> dict[str, np.ndarray]:
    if path.suffix == ".csv":
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.strip() and not line.lstrip().startswith("#")][header:]
        if not kept:
            return {"": np.empty((0, 0))}
        try:
            return {"": np.loadtxt(kept, delimiter=",", ndmin=2)}
        except ValueError as error:
            if "could not convert" in str(error):
                raise ValueError(f"{error}; header = {header + 1} skips a line of names") from None
            raise
    if path.suffix == ".safetensors":
        return dict(load_file(path))
    loaded = np.load(path, allow_pickle=False)
    return {"": loaded} if path.suffix == ".npy" else {name: loaded[name] for name in loaded.files}


def _cause(error: Exception) -> str:
    """The reason without numpy's advice, which is about its own arguments."""
    if "pickle" in str(error):
        return "it is no array, or holds Python objects, which are never loaded"
    return str(error).splitlines()[0].partition("; use `usecols`")[0]


def _picked(found: dict[str, np.ndarray], key: str | None, where: str) -> np.ndarray:
    if not found:
        raise MeasureflowError(f"{where} holds no array")
    if key is None and len(found) == 1:
        return next(iter(found.values()))
    if key is None:
        raise MeasureflowError(f"{where} holds several arrays; name one with key = ...; known: {', '.join(sorted(found))}")
    if key not in found:
        raise MeasureflowError(f"{where}: {unknown('array', key, [name for name in found if name])}")
    return found[key]
