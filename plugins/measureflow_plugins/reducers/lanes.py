"""The inner loops of the compiled sums: BLOCK points side by side in the first cache, against ROWS points at a time.

A block holds its points transposed, (d, BLOCK), so that each loop below runs over neighbours in memory and vectorises; ROWS
points and two coordinates at once keep its sums in registers. d is even, padded with zeros. `term(x, y)` is what a
coordinate adds to a profile's argument, `toward(x, y)` the factor of its derivative. The functions are plain; the loops
that call them compile them.
"""

from typing import Any

import numpy as np

Array = Any  # a numpy array, whose shape the docstrings give

BLOCK = 256
ROWS = 4


def transpose(X: Array, block: int, x: Array) -> None:
    """x (d, BLOCK) <- the rows of X (n, d or d - 1) from `block * BLOCK` on, and its last row where there are no more."""
    x[X.shape[1] :] = 0
    for i in range(BLOCK):
        row = min(block * BLOCK + i, X.shape[0] - 1)
        for k in range(X.shape[1]):
            x[k, i] = X[row, k]


def arguments(u: Array, x: Array, Y: Array, j: int, term: Any) -> None:
    """u (ROWS, BLOCK) <- the profile's arguments at the block x (d, BLOCK) and the ROWS rows of Y (m, d) from j."""
    u0, u1, u2, u3 = u[0], u[1], u[2], u[3]
    u[:] = 0
    for k in range(0, x.shape[0], 2):
        p, q = x[k], x[k + 1]
        a, b, c, d = Y[j, k], Y[j + 1, k], Y[j + 2, k], Y[j + 3, k]
        e, f, g, h = Y[j, k + 1], Y[j + 1, k + 1], Y[j + 2, k + 1], Y[j + 3, k + 1]
        for i in range(BLOCK):
            u0[i] += term(p[i], a) + term(q[i], e)
            u1[i] += term(p[i], b) + term(q[i], f)
            u2[i] += term(p[i], c) + term(q[i], g)
            u3[i] += term(p[i], d) + term(q[i], h)


def spread(G: Array, s: Array, x: Array, Y: Array, j: int, toward: Any) -> None:
    """G (d, BLOCK) += sum over the ROWS rows of Y from j of s_ji toward(x_i, Y_j): gradients at the block's points."""
    s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
    for k in range(0, x.shape[0], 2):
        p, q, G0, G1 = x[k], x[k + 1], G[k], G[k + 1]
        a, b, c, d = Y[j, k], Y[j + 1, k], Y[j + 2, k], Y[j + 3, k]
        e, f, g, h = Y[j, k + 1], Y[j + 1, k + 1], Y[j + 2, k + 1], Y[j + 3, k + 1]
        for i in range(BLOCK):
            G0[i] += s0[i] * toward(p[i], a) + s1[i] * toward(p[i], b) + s2[i] * toward(p[i], c) + s3[i] * toward(p[i], d)
            G1[i] += s0[i] * toward(q[i], e) + s1[i] * toward(q[i], f) + s2[i] * toward(q[i], g) + s3[i] * toward(q[i], h)


def gather(G: Array, s: Array, y: Array, X: Array, i: int, toward: Any) -> None:
    """G (n, d) += sum over the block y (d, BLOCK) of s_ij toward(X_i, y_j), at the ROWS rows from i: gradients at X."""
    s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
    for k in range(0, y.shape[0], 2):
        p, q = y[k], y[k + 1]
        x0, x1, x2, x3 = X[i, k], X[i + 1, k], X[i + 2, k], X[i + 3, k]
        z0, z1, z2, z3 = X[i, k + 1], X[i + 1, k + 1], X[i + 2, k + 1], X[i + 3, k + 1]
        a, b, c, d = G[i, k], G[i + 1, k], G[i + 2, k], G[i + 3, k]
        e, f, g, h = G[i, k + 1], G[i + 1, k + 1], G[i + 2, k + 1], G[i + 3, k + 1]
        for j in range(BLOCK):
            a += s0[j] * toward(x0, p[j])
            b += s1[j] * toward(x1, p[j])
            c += s2[j] * toward(x2, p[j])
            d += s3[j] * toward(x3, p[j])
            e += s0[j] * toward(z0, q[j])
            f += s1[j] * toward(z1, q[j])
            g += s2[j] * toward(z2, q[j])
            h += s3[j] * toward(z3, q[j])
        G[i, k], G[i + 1, k], G[i + 2, k], G[i + 3, k] = a, b, c, d
        G[i, k + 1], G[i + 1, k + 1], G[i + 2, k + 1], G[i + 3, k + 1] = e, f, g, h


def spread_values(v: Array, u: Array, a: Array, j: int, kappa: Any) -> None:
    """v (BLOCK,) += sum over ROWS rows of a_j kappa(u_ji)."""
    for row in range(ROWS):
        w, mass = u[row], a[j + row]
        for i in range(BLOCK):
            v[i] += mass * kappa(w[i])


def gather_values(v: Array, u: Array, a: Array, i: int, kappa: Any) -> None:
    """v (n,) += sum over the block of a_j kappa(u_ij), at the ROWS rows from i; a (BLOCK,) are the block's masses."""
    for row in range(ROWS):
        w, total = u[row], v[i + row]
        for j in range(BLOCK):
            total += a[j] * kappa(w[j])
        v[i + row] = total


def spread_slopes(u: Array, a: Array, j: int, slope: Any) -> None:
    """u_ji <- a_j slope(u_ji)."""
    for row in range(ROWS):
        w, mass = u[row], a[j + row]
        for i in range(BLOCK):
            w[i] = mass * slope(w[i])


def gather_slopes(u: Array, a: Array, slope: Any) -> None:
    """u_ij <- a_j slope(u_ij); a (BLOCK,) are the block's masses."""
    for row in range(ROWS):
        w = u[row]
        for j in range(BLOCK):
            w[j] = a[j] * slope(w[j])


def add(into: Array, block: int, x: Array) -> None:
    """The rows of into (n, d or d - 1) from `block * BLOCK` on += the block x (d, BLOCK), as many as there are."""
    for i in range(min(BLOCK, into.shape[0] - block * BLOCK)):
        for k in range(into.shape[1]):
            into[block * BLOCK + i, k] += x[k, i]


def blank(rows: int, like: Array) -> Array:
    """Room for `rows` numbers at each of a block's points, in the dtype of `like`."""
    return np.empty((rows, BLOCK), like.dtype)
