"""Matrix products on tiles: how a large matrix is cut, and what a tile is multiplied by, in shapes that products like."""

from collections.abc import Iterator
from typing import final

import attrs
import torch
from torch import Tensor

Span = tuple[slice, slice]
LANES = 16  # numbers in a vector register: products whose width is a multiple of it are twice as fast
SMALL = 2**16  # numbers in a matrix below which a copy costs more than the better product saves


def products(left: Tensor, right: Tensor, tile: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """Slices of rows and columns with the product `left[rows] @ right[columns].T`, valid until the next tile."""
    buffer = None
    for rows, columns in spans(left.shape[0], right.shape[0], tile):
        P = product(cut(left, rows), cut(right, columns), buffer)
        buffer = _flat(P) if buffer is None else buffer
        yield rows, columns, P


def product(left: Tensor, right: Tensor, buffer: Tensor | None = None) -> Tensor:
    """`left @ right.T`, in `buffer` if given; stored along its shorter axis, since tall products are faster than wide ones."""
    n, m = left.shape[0], right.shape[0]
    if n < m:
        return product(right, left, buffer).T
    return torch.mm(left, right.T) if buffer is None else torch.mm(left, right.T, out=buffer[: n * m].view(n, m))


def _flat(P: Tensor) -> Tensor:
    """The memory of a product, which is stored by rows or by columns."""
    return (P if P.is_contiguous() else P.T).view(-1)


def spans(n: int, m: int, tile: int) -> Iterator[Span]:
    """Slices of rows and columns that cover n x m in tiles of at most `tile` numbers, the first the largest."""
    short = max(1, min(n, m, int(max(tile, 1) ** 0.5)))
    long = max(1, tile // short)
    height, width = (min(long, n), short) if n >= m else (short, min(long, m))
    for i in range(0, n, max(height, 1)):
        for j in range(0, m, max(width, 1)):
            yield slice(i, min(i + height, n)), slice(j, min(j + width, m))


def cut(tensor: Tensor, span: slice) -> Tensor:
    """The rows of a span; the tensor itself where that is all of it, since even a view takes microseconds."""
    return tensor if span.stop - span.start == tensor.shape[0] else tensor[span]


def add(into: Tensor, K: Tensor, a: Tensor | None, keep: float) -> None:
    """into_i <- keep into_i + sum_j K_ij a_j; with keep = 0 what `into` held does not matter."""
    into.addmv_(K, K.new_ones(K.shape[1]) if a is None else a, beta=keep)


@final
@attrs.frozen(eq=False)
class Factor:
    """What a matrix of slopes is multiplied by: rows a_j y_j, and a_j beside them where `mass`, in a shape that products like.

    A tall matrix (rows at least as many as columns) wants the factor's width to be a multiple of 16, so the columns are padded
    once; a wide one is multiplied from the other side, tile by tile.
    """

    Y: Tensor
    a: Tensor | None
    mass: bool
    padded: Tensor | None

    @classmethod
    def of(cls, Y: Tensor, a: Tensor | None, n: int, mass: bool) -> "Factor":
        tall = n >= Y.shape[0]
        return cls(Y, a, mass, _beside(Y, a, mass, LANES if n * Y.shape[0] >= SMALL else 1) if tall else None)

    def cut(self, columns: slice) -> Tensor:
        """The factor's rows for some of the columns."""
        if self.padded is not None:
            return cut(self.padded, columns)
        return _beside(cut(self.Y, columns), None if self.a is None else cut(self.a, columns), self.mass, 1)


def _beside(Y: Tensor, a: Tensor | None, mass: bool, multiple: int) -> Tensor:
    """[a y, a, 0...] with a width that is a multiple; Y itself where that is all."""
    m, d = Y.shape
    weighted = Y if a is None else Y * a[:, None]
    width = -(-(d + mass) // multiple) * multiple
    if width == d:
        return weighted
    factor = Y.new_zeros(m, width)
    factor[:, :d] = weighted
    if mass:
        factor[:, d] = 1.0 if a is None else a
    return factor


def gather(out: Tensor, S: Tensor, factor: Tensor, keep: float) -> None:
    """out (n, d) <- keep out + the first d columns of S @ factor."""
    if (S.is_contiguous() and factor.shape[1] == out.shape[1]) or S.numel() < SMALL:
        out.addmm_(S, factor[:, : out.shape[1]], beta=keep)
    else:
        _into(out, _matrix(S, factor)[:, : out.shape[1]], keep)


def gather_about(out: Tensor, S: Tensor, factor: Tensor, X: Tensor, scale: float, keep: float) -> None:
    """out_i <- keep out_i + scale sum_j S_ij a_j (x_i - y_j), for a factor with masses."""
    G, d = _matrix(S, factor), X.shape[1]
    _into(out, torch.addcmul(-G[:, :d], X, G[:, d : d + 1]).mul_(scale), keep)


def _matrix(S: Tensor, factor: Tensor) -> Tensor:
    """S @ factor, computed so that the result is stored along the longer of its axes that products run over."""
    return torch.mm(S, factor) if S.is_contiguous() else torch.mm(factor.T, S.T).T


def _into(out: Tensor, part: Tensor, keep: float) -> None:
    """out <- keep out + part, for keep 0 or 1."""
    if keep:
        out += part
    else:
        out.copy_(part)
