"""Reductions: sums over the atoms of one measure at the points of another; the only O(N m d) work there is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.feature import Feature, Form
from measureflow.measure import Field, Need, Particles


@final
@attrs.frozen
class Request:
    """What a reduction is about, without its data: the key by which a reducer is picked."""

    n_out: int
    n_in: int
    width: int
    form: Form
    dtype: torch.dtype
    device: torch.device
    need: Need


class Reducer(ABC):
    """How sums over measures are evaluated; every other type asks a reducer instead of looping.

    Subclass `Local` to evaluate the sums differently on one device (a compiled pass, another library). Subclass `Reducer`
    itself only to change where atoms are: a wrapper that shards a measure over processes overrides all three methods.
    Reducers keep no state between calls that could change a result.
    """

    family: ClassVar[str] = "reducer"
    kind: ClassVar[str]

    @abstractmethod
    def field(self, phi: Feature, at: Float[Tensor, "n d"], source: Particles, need: Need) -> Field:
        """`sum_j mass_j phi(at_i, y_j)` (n,) and its gradient in `at` (n, d), as far as needed."""

    @abstractmethod
    def take(self, measure: Particles, index: Tensor) -> Particles:
        """The atoms of the whole measure at global `index` (k,)."""

    @abstractmethod
    def total(self, measure: Particles, values: Float[Tensor, "M ..."]) -> Float[Tensor, "..."]:
        """Sum over the whole measure of `values`, which has one row for each atom held here."""


class Local(Reducer):
    """A reducer on one device: implement `sums`, which knows neither lifts nor measures."""

    @final
    def field(self, phi: Feature, at: Tensor, source: Particles, need: Need) -> Field:
        lift_at, lift_source = phi.lifts
        X, Y = lift_at.forward(at), lift_source.forward(source.points)
        if X.shape[1] != Y.shape[1]:
            raise ValueError(
                f"{phi} pairs points of width {X.shape[1]} with points of width {Y.shape[1]}: the two measures' dimensions"
                f" ({at.shape[1]} and {source.dim}) do not fit this feature"
            )
        euler = phi.degree if Need.VALUE in need and Need.GRAD in need else None
        weights = None if source.equal else source.mass
        lifted = self.sums(phi, X, Y, weights, Need.GRAD if euler else need)
        value, grad = lifted.maybe_value, lifted.maybe_grad
        if source.equal:
            value, grad = (part if part is None else part.mul_(source.mass[0]) for part in (value, grad))
        if euler:
            value = (X * lifted.grad).sum(1).div_(euler)
        return Field(value, None if grad is None else lift_at.pullback(at, grad))

    @final
    def take(self, measure: Particles, index: Tensor) -> Particles:
        return measure.take(index)

    @final
    def total(self, measure: Particles, values: Tensor) -> Tensor:
        return values.sum(0)

    @abstractmethod
    def sums(self, phi: Feature, X: Float[Tensor, "n D"], Y: Float[Tensor, "m D"], a: Tensor | None, need: Need) -> Field:
        """`sum_j a_j profile(X_i, Y_j)` and its gradient in X, in lifted coordinates; `a` (m,), or None for all ones.

        The result is fresh: the caller may overwrite it.
        """


@final
@attrs.frozen
class Chunked(Local):
    """Matrix products on tiles: in float64 on the CPU, the truth that every other reducer is held against.

    The longer axis is cut into blocks of about `tile` numbers, so that a tile stays in cache and neither an n x m nor an
    m x n matrix ever exists; the product's buffer is reused from tile to tile.
    """

    kind: ClassVar[str] = "chunked"
    tile: int = attrs.field(default=2**19, validator=attrs.validators.ge(1))

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        make = X.new_empty if Y.shape[0] else X.new_zeros
        value = make(X.shape[0]) if Need.VALUE in need else None
        grad = make(X.shape) if Need.GRAD in need else None
        tile_sum = _dot if phi.form == "dot" else _radial
        for rows, columns, P in self._tiles(*_arguments(phi.form, X, Y)):
            out = Field(None if value is None else value[rows], None if grad is None else grad[rows])
            weights = None if a is None else a[columns]
            tile_sum(phi, P, X[rows], Y[columns], weights, out, keep=0.0 if columns.start == 0 else 1.0)
        return Field(value, grad)

    def _tiles(self, left: Tensor, right: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
        """Slices of rows and columns with the product `left[rows] @ right[columns].T`, valid until the next tile."""
        n, m = left.shape[0], right.shape[0]
        short = min(n, m, max(1, int(self.tile**0.5)))
        long = max(1, self.tile // max(short, 1))
        height, width = (min(long, n), short) if n >= m else (short, min(long, m))
        buffer = left.new_empty(height * width)
        for i in range(0, n, max(height, 1)):
            for j in range(0, m, max(width, 1)):
                rows, columns = slice(i, min(i + height, n)), slice(j, min(j + width, m))
                shape = (rows.stop - i, columns.stop - j)
                P = buffer[: shape[0] * shape[1]].view(shape)
                yield rows, columns, torch.mm(left[rows], right[columns].T, out=P)


def _arguments(form: Form, X: Tensor, Y: Tensor) -> tuple[Tensor, Tensor]:
    """Two matrices whose product holds the profile's arguments: <x, y>, or |x - y|^2 (centred, against cancellation)."""
    if form == "dot":
        return X, Y
    centre = Y.mean(0) if Y.shape[0] else 0.0
    X, Y = X - centre, Y - centre
    x2, y2 = X.square().sum(1, keepdim=True), Y.square().sum(1, keepdim=True)
    return torch.cat([X, x2, torch.ones_like(x2)], 1), torch.cat([Y * -2, torch.ones_like(y2), y2], 1)


def _add(into: Tensor, K: Tensor, a: Tensor | None, keep: float) -> None:
    """into_i <- keep into_i + sum_j K_ij a_j; with keep = 0 what `into` held does not matter."""
    into.addmv_(K, K.new_ones(K.shape[1]) if a is None else a, beta=keep)


def _dot(phi: Feature, U: Tensor, X: Tensor, Y: Tensor, a: Tensor | None, out: Field, keep: float) -> None:
    if out.maybe_value is not None:
        _add(out.value, phi.profile(U, 0), a, keep)
    if out.maybe_grad is not None:
        out.grad.addmm_(phi.profile(U, 1), Y if a is None else Y * a[:, None], beta=keep)


def _radial(phi: Feature, R2: Tensor, X: Tensor, Y: Tensor, a: Tensor | None, out: Field, keep: float) -> None:
    R2.clamp_(min=0)
    if out.maybe_value is not None:
        _add(out.value, phi.profile(R2, 0), a, keep)
    if out.maybe_grad is not None:  # 2 sum_j a_j rho'(r2) (x - y_j)
        S = phi.profile(R2, 1)
        weight = torch.empty_like(X[:, 0])
        _add(weight, S, a, 0.0)
        out.grad.addmm_(S, Y if a is None else Y * a[:, None], beta=keep, alpha=-2).add_(X * weight[:, None], alpha=2)


@final
@attrs.frozen
class Auto(Local):
    """The reducer that `pick` names for each request."""

    kind: ClassVar[str] = "auto"
    pick: Callable[[Request], Local]

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        request = Request(X.shape[0], Y.shape[0], X.shape[1], phi.form, X.dtype, X.device, need)
        return self.pick(request).sums(phi, X, Y, a, need)
