"""The two ways round a sum over pairs: blocks of outputs against every input, or blocks of inputs against every output.

X (n, d) are the outputs' points, Y (m, d) and a (m,) the inputs and their masses; d is even. `kappa` and value, or `slope` and
grad, are None where they are not wanted. Each loop does the chunks `start` to `stop`, and chunk c is the blocks from
`cuts[c]` to `cuts[c + 1]`; what a chunk adds depends on nothing but the cuts.
"""

import functools
from collections.abc import Callable
from typing import Any

from measureflow_plugins.reducers.compiler import loop, part
from measureflow_plugins.reducers.lanes import (
    BLOCK,
    ROWS,
    Array,
    add,
    arguments,
    blank,
    gather,
    gather_slopes,
    gather_values,
    spread,
    spread_slopes,
    spread_values,
    transpose,
)

PANEL = 512  # inputs that are summed before the sum is added to the result, so that rounding grows with m / PANEL


def by_outputs(
    X: Array,
    Y: Array,
    a: Array,
    term: Any,
    toward: Any,
    kappa: Any,
    slope: Any,
    value: Array,
    grad: Array,
    cuts: Array,
    start: int,
    stop: int,
) -> None:
    """value (n, 1), grad (n, d) += the sums at the chunks' rows of X; m is a multiple of ROWS."""
    x, G, u, v = blank(Y.shape[1], X), blank(Y.shape[1], X), blank(ROWS, X), blank(1, X)
    for block in range(cuts[start], cuts[stop]):
        transpose(X, block, x)
        for panel in range(0, Y.shape[0], PANEL):
            G[:] = 0
            v[:] = 0
            for j in range(panel, min(panel + PANEL, Y.shape[0]), ROWS):
                arguments(u, x, Y, j, term)
                if value is not None:
                    spread_values(v[0], u, a, j, kappa)
                if grad is not None:
                    spread_slopes(u, a, j, slope)
                    spread(G, u, x, Y, j, toward)
            if value is not None:
                add(value, block, v)
            if grad is not None:
                add(grad, block, G)


def by_inputs(
    X: Array,
    Y: Array,
    a: Array,
    term: Any,
    toward: Any,
    kappa: Any,
    slope: Any,
    value: Array,
    grad: Array,
    cuts: Array,
    start: int,
    stop: int,
) -> None:
    """value (chunks, n), grad (chunks, n, d) += each chunk's part of every sum; n is a multiple of ROWS, a fills its blocks."""
    y, u = blank(X.shape[1], X), blank(ROWS, X)
    for chunk in range(start, stop):
        for block in range(cuts[chunk], cuts[chunk + 1]):
            transpose(Y, block, y)
            masses = a[block * BLOCK : (block + 1) * BLOCK]
            for i in range(0, X.shape[0], ROWS):
                arguments(u, y, X, i, term)
                if value is not None:
                    gather_values(value[chunk], u, masses, i, kappa)
                if grad is not None:
                    gather_slopes(u, masses, slope)
                    gather(grad[chunk], u, y, X, i, toward)


@functools.cache
def loops() -> tuple[Callable[..., None], Callable[..., None]]:
    """`by_outputs` and `by_inputs`, which numba compiles anew for each formula, dtype and need."""
    for helper in (transpose, arguments, spread, gather, spread_values, gather_values, spread_slopes, gather_slopes, add, blank):
        part(helper)
    return loop(by_outputs), loop(by_inputs)
