"""The two ways round a sum over pairs: blocks of outputs against every input, or blocks of inputs against every output.

X (n, d) are the outputs' points, Y (m, d) and a (m,) the inputs and their masses, value (parts, n) and grad (parts, n, d) the
sums, which the caller has set to 0. `kappa` is None where values are not wanted, `slope` where gradients are not. Each call
does the pieces `start` to `stop`, which share nothing that is written.
"""

from typing import Any

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

PARTS = (transpose, arguments, spread, gather, spread_values, gather_values, spread_slopes, gather_slopes, add, blank)
PANEL = 512  # inputs that are summed before the sum is added to the result, so that rounding grows with m / PANEL


def by_outputs(
    X: Array, Y: Array, a: Array, value: Array, grad: Array, start: int, stop: int, term: Any, toward: Any, kappa: Any, slope: Any
) -> None:
    """A piece is a block of X, and there is one part; Y has an even width and a multiple of ROWS rows."""
    x, G, u, v = blank(Y.shape[1], X), blank(Y.shape[1], X), blank(ROWS, X), blank(1, X)
    for block in range(start, stop):
        transpose(X, block, x)
        for panel in range(0, Y.shape[0], PANEL):
            G[:] = 0
            v[:] = 0
            for j in range(panel, min(panel + PANEL, Y.shape[0]), ROWS):
                arguments(u, x, Y, j, term)
                if kappa is not None:
                    spread_values(v[0], u, a, j, kappa)
                if slope is not None:
                    spread_slopes(u, a, j, slope)
                    spread(G, u, x, Y, j, toward)
            if kappa is not None:
                add(value[0].reshape((X.shape[0], 1)), block, v)
            if slope is not None:
                add(grad[0], block, G)


def by_inputs(
    X: Array, Y: Array, a: Array, value: Array, grad: Array, start: int, stop: int, term: Any, toward: Any, kappa: Any, slope: Any
) -> None:
    """A piece is a part, to which as many blocks of Y belong as to any other; X is padded as Y is above, a fills its blocks."""
    y, u = blank(X.shape[1], X), blank(ROWS, X)
    parts, blocks = value.shape[0], a.shape[0] // BLOCK
    for part in range(start, stop):
        for block in range(blocks * part // parts, blocks * (part + 1) // parts):
            transpose(Y, block, y)
            masses = a[block * BLOCK : (block + 1) * BLOCK]
            for i in range(0, X.shape[0], ROWS):
                arguments(u, y, X, i, term)
                if kappa is not None:
                    gather_values(value[part], u, masses, i, kappa)
                if slope is not None:
                    gather_slopes(u, masses, slope)
                    gather(grad[part], u, y, X, i, toward)
