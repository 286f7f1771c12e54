"""The chunked reducer: matrix products on tiles that stay in cache."""

import functools
from collections.abc import Callable
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need
from measureflow.reduction.matmul import Factor, add, cut, gather, gather_about, product, products, spans
from measureflow.reduction.reducer import Local

TILE = {"cpu": 2**20, "cuda": 2**25}  # numbers: what a CPU's cache holds; on a GPU, what hides the cost of a launch
ACTIVATIONS = 64  # numbers that a torch function is expected to keep for each pair of points, for its backward pass


@final
@attrs.frozen
class Chunked(Local):
    """Matrix products on tiles: in float64 on the CPU, the truth that every other reducer is held against.

    The longer axis is cut into blocks, the shorter too if both are long, so that a tile has about `tile` numbers (by default
    2^20 on a CPU, 2^25 on a GPU) and neither an n x m nor an m x n matrix ever exists; the product's buffer is reused from
    tile to tile.
    """

    kind: ClassVar[str] = "chunked"
    tile: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))

    def _tile(self, X: Tensor) -> int:
        return self.tile or TILE.get(X.device.type, TILE["cpu"])

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        out = _empty(X, Y, need)
        if phi.form == "autograd":
            masses = Y.new_ones(Y.shape[0]) if a is None else a
            for rows, columns in spans(X.shape[0], Y.shape[0], self._tile(X) // ACTIVATIONS):
                value_of = functools.partial(_weighted, phi, cut(Y, columns), cut(masses, columns))
                _automatic(value_of, cut(X, rows), _rows(out, rows), float(columns.start > 0))
            return out
        tile_sum = _dot if phi.form == "dot" else _radial
        factor = Factor.of(Y, a, X.shape[0], phi.form == "radial") if Need.GRAD in need else None
        left, right = _arguments(phi, X, Y)
        for rows, columns, P in products(left, right, self._tile(X)):
            weights = None if a is None else cut(a, columns)
            tile_sum(phi, P, cut(X, rows), factor and factor.cut(columns), weights, _rows(out, rows), float(columns.start > 0))
        return out

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        out = _empty(X, Y, need)
        if phi.form == "autograd":
            for rows, columns in spans(X.shape[0], Y.shape[0], self._tile(X) // ACTIVATIONS):
                value_of = functools.partial(_along, phi, cut(Y, columns), cut(V, columns))
                _automatic(value_of, cut(X, rows), _rows(out, rows), float(columns.start > 0))
            return out
        tile_sum = _dot_directed if phi.form == "dot" else _radial_directed
        n, left, right = X.shape[0], *_arguments(phi, X, Y)
        graded = Need.GRAD in need
        on_y, on_v = (Factor.of(Y, None, n, phi.form == "radial"), Factor.of(V, None, n, False)) if graded else (None, None)
        along = None if phi.form == "dot" else (Y * V).sum(1)
        for rows, columns, P in products(left, right, self._tile(X)):
            W = product(cut(X, rows), cut(V, columns))
            if along is not None:
                W -= cut(along, columns)
            factors = on_y and on_y.cut(columns), on_v and on_v.cut(columns)
            tile_sum(phi, P, W, cut(X, rows), *factors, _rows(out, rows), float(columns.start > 0))
        return out

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        out, factor = X.new_zeros(X.shape[0], V.shape[1]), Factor.of(V, None, X.shape[0], False)
        if phi.form == "autograd":
            for rows, columns in spans(X.shape[0], Y.shape[0], self._tile(X) // ACTIVATIONS):
                out[rows].addmm_(phi.pair(cut(X, rows), cut(Y, columns)), cut(V, columns))
            return out
        for rows, columns, P in products(*_arguments(phi, X, Y), self._tile(X)):
            argument = P if phi.form == "dot" else P.clamp_(min=0)
            gather(out[rows], phi.profile(argument, 0), factor.cut(columns), 1.0)
        return out


def _empty(X: Tensor, Y: Tensor, need: Need) -> Field:
    """Outputs for X; zeros where there is nothing to sum, else whatever memory holds."""
    make = X.new_empty if Y.shape[0] else X.new_zeros
    return Field(make(X.shape[0]) if Need.VALUE in need else None, make(X.shape) if Need.GRAD in need else None)


def _rows(out: Field, rows: slice) -> Field:
    value, grad = out.maybe_value, out.maybe_grad
    return Field(None if value is None else cut(value, rows), None if grad is None else cut(grad, rows))


def _arguments(phi: Feature, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product holds the profile's arguments: <x, y>, or |x - y|^2 (centred, against cancellation)."""
    if phi.form == "dot":
        return X, Y
    centre = Y.mean(0) if Y.shape[0] else 0.0
    X, Y = X - centre, Y - centre
    x2, y2 = X.square().sum(1, keepdim=True), Y.square().sum(1, keepdim=True)
    return torch.cat([X, x2, torch.ones_like(x2)], 1), torch.cat([Y * -2, torch.ones_like(y2), y2], 1)


def _dot(phi: Feature, U: Tensor, X: Tensor, factor: Tensor | None, a: Tensor | None, out: Field, keep: float) -> None:
    if out.maybe_value is not None:
        add(out.value, phi.profile(U.clone() if factor is not None else U, 0), a, keep)
    if factor is not None:
        gather(out.grad, phi.profile(U, 1), factor, keep)


def _radial(phi: Feature, R2: Tensor, X: Tensor, factor: Tensor | None, a: Tensor | None, out: Field, keep: float) -> None:
    R2.clamp_(min=0)
    if out.maybe_value is not None:
        add(out.value, phi.profile(R2.clone() if factor is not None else R2, 0), a, keep)
    if factor is not None:  # 2 sum_j a_j rho'(r2) (x - y_j)
        gather_about(out.grad, phi.profile(R2, 1), factor, X, 2.0, keep)


def _dot_directed(
    phi: Feature, U: Tensor, W: Tensor, X: Tensor, on_y: Tensor | None, on_v: Tensor | None, out: Field, keep: float
) -> None:
    """W_ij = <x_i, v_j>: sum_j kappa' W, and its gradient sum_j kappa'' W y_j + kappa' v_j."""
    S = phi.profile(U.clone(), 1)
    if out.maybe_value is not None:
        add(out.value, S * W, None, keep)
    if on_y is not None and on_v is not None:
        gather(out.grad, W.mul_(phi.profile(U, 2)), on_y, keep)
        gather(out.grad, S, on_v, 1.0)


def _radial_directed(
    phi: Feature, R2: Tensor, D: Tensor, X: Tensor, on_y: Tensor | None, on_v: Tensor | None, out: Field, keep: float
) -> None:
    """D_ij = <x_i - y_j, v_j>: sum_j -2 rho' D, and its gradient sum_j -4 rho'' D (x - y_j) - 2 rho' v_j."""
    R2.clamp_(min=0)
    S = phi.profile(R2.clone(), 1)
    if out.maybe_value is not None:
        add(out.value, S * D, torch.full_like(D[0], -2.0), keep)
    if on_y is not None and on_v is not None:
        gather_about(out.grad, D.mul_(phi.profile(R2, 2)), on_y, X, -4.0, keep)
        gather(out.grad, S.mul_(-2.0), on_v, 1.0)


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
