"""The chunked reducer: matrix products on tiles that stay in cache."""

import functools
from collections.abc import Callable, Iterator
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.feature import Feature
from measureflow.measure import Field, Need
from measureflow.reduce import Local

Span = tuple[slice, slice]
LANES = 16  # numbers in a vector register: products whose width is a multiple of it are twice as fast
SMALL = 2**16  # numbers in a matrix below which a copy costs more than the better product saves
ACTIVATIONS = 64  # numbers that a torch function is expected to keep for each pair of points, for its backward pass


@final
@attrs.frozen
class Chunked(Local):
    """Matrix products on tiles: in float64 on the CPU, the truth that every other reducer is held against.

    The longer axis is cut into blocks, the shorter too where both are long, so that a tile has about `tile` numbers and
    neither an n x m nor an m x n matrix ever exists; the product's buffer is reused from tile to tile.
    """

    kind: ClassVar[str] = "chunked"
    tile: int = attrs.field(default=2**20, validator=attrs.validators.ge(1))

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        out = _empty(X, Y, need)
        if phi.form == "autograd":
            masses = Y.new_ones(Y.shape[0]) if a is None else a
            for rows, columns in spans(X.shape[0], Y.shape[0], self.tile // ACTIVATIONS):
                value_of = functools.partial(_weighted, phi, _cut(Y, columns), _cut(masses, columns))
                _automatic(value_of, _cut(X, rows), _rows(out, rows), float(columns.start > 0))
            return out
        tile_sum = _dot if phi.form == "dot" else _radial
        factor = _Factor.of(Y, a, X.shape[0], phi.form == "radial") if Need.GRAD in need else None
        left, right = _arguments(phi, X, Y)
        for rows, columns, P in self._products(left, right):
            weights = None if a is None else _cut(a, columns)
            tile_sum(phi, P, _cut(X, rows), factor and factor.cut(columns), weights, _rows(out, rows), float(columns.start > 0))
        return out

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        out = _empty(X, Y, need)
        if phi.form == "autograd":
            for rows, columns in spans(X.shape[0], Y.shape[0], self.tile // ACTIVATIONS):
                value_of = functools.partial(_along, phi, _cut(Y, columns), _cut(V, columns))
                _automatic(value_of, _cut(X, rows), _rows(out, rows), float(columns.start > 0))
            return out
        tile_sum = _dot_directed if phi.form == "dot" else _radial_directed
        n, left, right = X.shape[0], *_arguments(phi, X, Y)
        on_y, on_v = _Factor.of(Y, None, n, phi.form == "radial"), _Factor.of(V, None, n, False)
        along = None if phi.form == "dot" else (Y * V).sum(1)
        for rows, columns, P in self._products(left, right):
            W = _product(_cut(X, rows), _cut(V, columns))
            if along is not None:
                W -= _cut(along, columns)
            factors = on_y.cut(columns), on_v.cut(columns)
            tile_sum(phi, P, W, _cut(X, rows), *factors, _rows(out, rows), float(columns.start > 0))
        return out

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        out, factor = X.new_zeros(X.shape[0], V.shape[1]), _Factor.of(V, None, X.shape[0], False)
        if phi.form == "autograd":
            for rows, columns in spans(X.shape[0], Y.shape[0], self.tile // ACTIVATIONS):
                out[rows].addmm_(phi.pair(_cut(X, rows), _cut(Y, columns)), _cut(V, columns))
            return out
        for rows, columns, P in self._products(*_arguments(phi, X, Y)):
            argument = P if phi.form == "dot" else P.clamp_(min=0)
            _gather(out[rows], phi.profile(argument, 0), factor.cut(columns), 1.0)
        return out

    def _products(self, left: Tensor, right: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Slices of rows and columns with the product `left[rows] @ right[columns].T`, valid until the next tile."""
        buffer = None
        for rows, columns in spans(left.shape[0], right.shape[0], self.tile):
            P = _product(_cut(left, rows), _cut(right, columns), buffer)
            buffer = _flat(P) if buffer is None else buffer
            yield rows, columns, P


def _product(left: Tensor, right: Tensor, buffer: Tensor | None = None) -> Tensor:
    """`left @ right.T`, in `buffer` if given; stored along its shorter axis, since tall products are faster than wide ones."""
    n, m = left.shape[0], right.shape[0]
    if n < m:
        return _product(right, left, buffer).T
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


def _empty(X: Tensor, Y: Tensor, need: Need) -> Field:
    """Outputs for X; zeros where there is nothing to sum, else whatever memory holds."""
    make = X.new_empty if Y.shape[0] else X.new_zeros
    return Field(make(X.shape[0]) if Need.VALUE in need else None, make(X.shape) if Need.GRAD in need else None)


def _cut(tensor: Tensor, span: slice) -> Tensor:
    """The rows of a span; the tensor itself where that is all of it, since even a view takes microseconds."""
    return tensor if span.stop - span.start == tensor.shape[0] else tensor[span]


def _rows(out: Field, rows: slice) -> Field:
    value, grad = out.maybe_value, out.maybe_grad
    return Field(None if value is None else _cut(value, rows), None if grad is None else _cut(grad, rows))


def _arguments(phi: Feature, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product holds the profile's arguments: <x, y>, or |x - y|^2 (centred, against cancellation)."""
    if phi.form == "dot":
        return X, Y
    centre = Y.mean(0) if Y.shape[0] else 0.0
    X, Y = X - centre, Y - centre
    x2, y2 = X.square().sum(1, keepdim=True), Y.square().sum(1, keepdim=True)
    return torch.cat([X, x2, torch.ones_like(x2)], 1), torch.cat([Y * -2, torch.ones_like(y2), y2], 1)


def _add(into: Tensor, K: Tensor, a: Tensor | None, keep: float) -> None:
    """into_i <- keep into_i + sum_j K_ij a_j; with keep = 0 what `into` held does not matter."""
    into.addmv_(K, K.new_ones(K.shape[1]) if a is None else a, beta=keep)


def _dot(phi: Feature, U: Tensor, X: Tensor, factor: Tensor | None, a: Tensor | None, out: Field, keep: float) -> None:
    if out.maybe_value is not None:
        _add(out.value, phi.profile(U.clone() if factor is not None else U, 0), a, keep)
    if factor is not None:
        _gather(out.grad, phi.profile(U, 1), factor, keep)


def _radial(phi: Feature, R2: Tensor, X: Tensor, factor: Tensor | None, a: Tensor | None, out: Field, keep: float) -> None:
    R2.clamp_(min=0)
    if out.maybe_value is not None:
        _add(out.value, phi.profile(R2.clone() if factor is not None else R2, 0), a, keep)
    if factor is not None:  # 2 sum_j a_j rho'(r2) (x - y_j)
        _gather_about(out.grad, phi.profile(R2, 1), factor, X, 2.0, keep)


def _dot_directed(phi: Feature, U: Tensor, W: Tensor, X: Tensor, on_y: Tensor, on_v: Tensor, out: Field, keep: float) -> None:
    """W_ij = <x_i, v_j>: sum_j kappa' W, and its gradient sum_j kappa'' W y_j + kappa' v_j."""
    S = phi.profile(U.clone(), 1)
    if out.maybe_value is not None:
        _add(out.value, S * W, None, keep)
    if out.maybe_grad is not None:
        _gather(out.grad, W.mul_(phi.profile(U, 2)), on_y, keep)
        _gather(out.grad, S, on_v, 1.0)


def _radial_directed(phi: Feature, R2: Tensor, D: Tensor, X: Tensor, on_y: Tensor, on_v: Tensor, out: Field, keep: float) -> None:
    """D_ij = <x_i - y_j, v_j>: sum_j -2 rho' D, and its gradient sum_j -4 rho'' D (x - y_j) - 2 rho' v_j."""
    R2.clamp_(min=0)
    S = phi.profile(R2.clone(), 1)
    if out.maybe_value is not None:
        _add(out.value, S * D, torch.full_like(D[0], -2.0), keep)
    if out.maybe_grad is not None:
        _gather_about(out.grad, D.mul_(phi.profile(R2, 2)), on_y, X, -4.0, keep)
        _gather(out.grad, S.mul_(-2.0), on_v, 1.0)


@final
@attrs.frozen(eq=False)
class _Factor:
    """What a matrix of slopes is multiplied by: rows a_j y_j, and a_j beside them where `mass`, in a shape that products like.

    A tall matrix (rows at least as many as columns) wants the factor's width to be a multiple of 16, so the columns are padded
    once; a wide one is multiplied from the other side, tile by tile.
    """

    Y: Tensor
    a: Tensor | None
    mass: bool
    padded: Tensor | None

    @classmethod
    def of(cls, Y: Tensor, a: Tensor | None, n: int, mass: bool) -> "_Factor":
        tall = n >= Y.shape[0]
        return cls(Y, a, mass, _beside(Y, a, mass, LANES if n * Y.shape[0] >= SMALL else 1) if tall else None)

    def cut(self, columns: slice) -> Tensor:
        """The factor's rows for some of the columns."""
        if self.padded is not None:
            return _cut(self.padded, columns)
        return _beside(_cut(self.Y, columns), None if self.a is None else _cut(self.a, columns), self.mass, 1)


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


def _gather(out: Tensor, S: Tensor, factor: Tensor, keep: float) -> None:
    """out (n, d) <- keep out + the first d columns of S @ factor."""
    if (S.is_contiguous() and factor.shape[1] == out.shape[1]) or S.numel() < SMALL:
        out.addmm_(S, factor[:, : out.shape[1]], beta=keep)
    else:
        _into(out, _matrix(S, factor)[:, : out.shape[1]], keep)


def _gather_about(out: Tensor, S: Tensor, factor: Tensor, X: Tensor, scale: float, keep: float) -> None:
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


def _weighted(phi: Feature, Y: Tensor, a: Tensor, X: Tensor) -> Tensor:
    """sum_j a_j phi(x_i, y_j)."""
    return phi.pair(X, Y) @ a


def _along(phi: Feature, Y: Tensor, V: Tensor, X: Tensor) -> Tensor:
    """sum_j <grad_y phi(x_i, y_j), v_j>: the derivative along V, as the transpose of a transpose."""
    Y, one = Y.detach().requires_grad_(), X.new_ones(X.shape[0]).requires_grad_()
    (slope,) = torch.autograd.grad(one @ phi.pair(X, Y).sum(1), Y, create_graph=True)
    (value,) = torch.autograd.grad((slope * V).sum(), one, create_graph=True)
    return value


def _automatic(value_of: Callable[[Tensor], Tensor], X: Tensor, out: Field, keep: float) -> None:
    """A tile's sums, and their gradient by torch's own differentiation."""
    with torch.enable_grad():
        X = X.detach().requires_grad_()
        value = value_of(X)
        grad = torch.autograd.grad(value.sum(), X)[0] if out.maybe_grad is not None else None
    if out.maybe_value is not None:
        out.value.copy_(value.detach() if keep == 0 else out.value + value.detach())
    if grad is not None:
        out.grad.copy_(grad if keep == 0 else out.grad + grad)
