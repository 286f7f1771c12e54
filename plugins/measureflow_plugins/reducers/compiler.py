"""numba, imported at first use because that takes most of a second, and the settings under which everything is compiled."""

import functools
import importlib
from collections.abc import Callable
from typing import Any

from measureflow.errors import MeasureflowError

# Never nnan or ninf: what is not finite must stay so, for the guard to see. Sums may be reordered, which vectorises them;
# formulas may not: (u + 1) - 1 is not u.
SUMS = ("contract", "nsz", "reassoc")
FORMULAS = ("contract", "nsz")


@functools.cache
def numba() -> Any:
    """The numba module; raises MeasureflowError that says what to install."""
    try:
        return importlib.import_module("numba")
    except ImportError as error:
        raise MeasureflowError(
            f'reducer: compiled needs numba, which cannot be imported ({error}); pip install "measureflow[compiled]", '
            'or take reducer = "chunked", which runs without it'
        ) from None


def formula(function: Callable[..., Any]) -> Callable[..., Any]:
    """A scalar function that compiled loops take as an argument and inline."""
    compiled: Callable[..., Any] = numba().njit(error_model="numpy", fastmath=set(FORMULAS))(function)
    return compiled


@functools.cache
def part(function: Callable[..., Any]) -> None:
    """Lets a loop call this plain function, compiled under the loop's settings."""
    numba().extending.register_jitable(error_model="numpy", fastmath=set(SUMS))(function)


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """A loop that becomes part of the entry that calls it, so that LLVM goes over it once."""
    compiled: Callable[..., Any] = numba().njit(error_model="numpy", fastmath=set(SUMS), inline="always")(function)
    return compiled


def entry(function: Callable[[Any], None], record: Any) -> Any:
    """A C function of a pointer to that record (a numpy dtype), compiled now; `address` is where it is."""
    types = numba().types
    signature = types.void(types.CPointer(numba().from_dtype(record)))
    return numba().cfunc(signature, error_model="numpy", fastmath=set(SUMS))(function)


@functools.cache
def pointers(double: bool) -> Callable[[int], Any]:
    """An address as a pointer to float64 or float32 numbers, for compiled functions."""
    types = numba().types
    pointer, integer = types.CPointer(types.float64 if double else types.float32), types.int64

    @numba().extending.intrinsic
    def at(_: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
        def write(context: Any, builder: Any, signature: Any, arguments: tuple[Any]) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(pointer))

        return pointer(integer), write

    return at
