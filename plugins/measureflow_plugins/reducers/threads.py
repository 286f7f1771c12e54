"""Torch's own threads for compiled loops: a second pool would wait for cores on which torch's idle threads still spin."""

import ctypes
import functools
from pathlib import Path
from typing import Any

import torch


@functools.cache
def openmp() -> Any:
    """Torch's OpenMP library, which has `GOMP_parallel` and `omp_get_thread_num`; None where this torch has another or none."""
    folder = Path(torch.__file__).parent / "lib"
    try:
        library = ctypes.CDLL(str(next(folder.glob("libtorch_cpu.*"))))  # finds what torch is linked with
        library.GOMP_parallel.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
        library.omp_get_thread_num.argtypes = library.omp_get_num_threads.argtypes = ()
    except (StopIteration, OSError, AttributeError):
        return None
    return library


def on_every_thread(function: int, argument: int) -> None:
    """Calls a compiled function, given by its address, on as many threads as torch uses, or fewer; Python's lock is released."""
    openmp().GOMP_parallel(function, argument, torch.get_num_threads(), 0)
