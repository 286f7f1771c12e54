"""Reductions: sums over the atoms of one measure at the points of another; the only O(N m d) work there is."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.feature import Feature, Form
from measureflow.core.measure import Field, Need, Particles
from measureflow.errors import MeasureflowError
from measureflow.parallel.group import Alone, Team

Op = Literal["sums", "directed", "vectors"]


@final
@attrs.frozen
class Request:
    """What a reduction is about, without its data: the key by which a reducer is picked.

    `n_out` sums over `n_in` atoms each, of a feature of kind `profile` in lifted width `width`; `op` is the method of `Local`
    that is asked: "sums", "directed" or "vectors".
    """

    op: Op
    n_out: int
    n_in: int
    width: int
    profile: str
    form: Form
    dtype: torch.dtype
    device: torch.device
    need: Need


class Reducer(ABC):
    """How sums over measures are evaluated; every other type asks a reducer instead of looping.

    Subclass `Local` to evaluate the sums differently on one device (a compiled pass, another library). Subclass `Reducer`
    itself only to change where atoms are, as `Sharded` does: a measure may then be held in parts by the processes of `team`.
    Reducers keep no state between calls that could change a result. Their sums are not recorded for torch's autograd: a
    tensor that requires a gradient is refused.
    """

    family: ClassVar[str] = "reducer"
    kind: ClassVar[str]

    @property
    def team(self) -> Team:
        """The processes that hold the measures between them."""
        return Alone()

    def at(self, measure: Particles) -> "Reducer":
        """The reducer for sums at points that lie over the processes as the atoms of `measure` do.

        Ask it wherever the source may be held in parts: `reducer.at(nu).field(phi, nu.points, data, need)`.
        """
        return self

    def fields(self, phi: Feature, at: Float[Tensor, "n d"], terms: Sequence[tuple[float, Particles]], need: Need) -> Field:
        """`sum_k c_k field(phi, at, mu_k, need)` for at least one term (c_k, mu_k)."""
        (c, mu), *others = terms
        result = self.field(phi, at, mu, need).scale(c)
        for c, mu in others:
            result = result.plus(self.field(phi, at, mu, need), c)
        return result

    @abstractmethod
    def field(self, phi: Feature, at: Float[Tensor, "n d"], source: Particles, need: Need) -> Field:
        """`sum_j mass_j phi(at_i, y_j)` (n,) and its gradient in `at` (n, d), as far as needed."""

    @abstractmethod
    def directional(
        self, phi: Feature, at: Float[Tensor, "n d"], source: Particles, vectors: Float[Tensor, "m p"], need: Need
    ) -> Field:
        """`sum_j mass_j <grad_y phi(at_i, y_j), v_j>` (n,) and its gradient in `at` (n, d): score matching."""

    @abstractmethod
    def vector_sum(
        self, phi: Feature, at: Float[Tensor, "n d"], source: Particles, vectors: Float[Tensor, "m k"]
    ) -> Float[Tensor, "n k"]:
        """`sum_j mass_j phi(at_i, y_j) v_j` (n, k): SVGD."""

    @abstractmethod
    def take(self, measure: Particles, index: Tensor) -> Particles:
        """The atoms of the whole measure at global `index` (k,)."""

    @abstractmethod
    def total(self, measure: Particles, values: Float[Tensor, "M ..."]) -> Float[Tensor, "..."]:
        """Sum over the whole measure of `values`, which has one row for each atom held here."""

    def largest(self, measure: Particles, values: Float[Tensor, " M"]) -> Float[Tensor, ""]:
        """The largest of `values` over the whole measure."""
        return values.max()

    def whole(self, measure: Particles) -> Particles:
        """All atoms of the measure, marks included."""
        return measure

    def part(self, measure: Particles) -> Particles:
        """The atoms that this process holds of a whole measure, where it is held in parts."""
        return measure

    def most(self, measure: Particles) -> int:
        """The largest number of atoms of the measure that any process holds."""
        return measure.size


class Local(Reducer):
    """A reducer on one device: implement `sums`, `directed_sums` and `vector_sums`, which know neither lifts nor measures.

    X (n, D) and Y (m, D) are lifted points, `a` (m,) the masses, None for all ones. Results are fresh: the caller may
    overwrite them. Where a reducer leaves some sums to another, `declines` says so.
    """

    def declines(self, phi: Feature, request: Request) -> str | None:
        """Why sums like these are left to another reducer; None where this one evaluates them itself."""
        return None

    @abstractmethod
    def sums(self, phi: Feature, X: Float[Tensor, "n D"], Y: Float[Tensor, "m D"], a: Tensor | None, need: Need) -> Field:
        """`sum_j a_j profile(X_i, Y_j)` and its gradient in X, in lifted coordinates."""

    @abstractmethod
    def directed_sums(
        self, phi: Feature, X: Float[Tensor, "n D"], Y: Float[Tensor, "m D"], V: Float[Tensor, "m D"], need: Need
    ) -> Field:
        """`sum_j <grad_Y profile(X_i, Y_j), V_j>` and its gradient in X; masses are in V already."""

    @abstractmethod
    def vector_sums(
        self, phi: Feature, X: Float[Tensor, "n D"], Y: Float[Tensor, "m D"], V: Float[Tensor, "m k"]
    ) -> Float[Tensor, "n k"]:
        """`sum_j profile(X_i, Y_j) V_j`; masses are in V already."""

    @final
    def field(self, phi: Feature, at: Tensor, source: Particles, need: Need) -> Field:
        _refuse_graph(phi, at, source)
        X, Y = _lifted(phi, at, source)
        euler = phi.degree if Need.VALUE in need and Need.GRAD in need else None
        equal = source.equal
        lifted = self.sums(phi, X, Y, None if equal else source.mass, Need.GRAD if euler else need)
        value, grad = lifted.maybe_value, lifted.maybe_grad
        if equal:
            for part in (value, grad):
                if part is not None:
                    part.mul_(source.mass[0])
        if euler:
            value = torch.linalg.vecdot(X, lifted.grad).div_(euler)
        return Field(value, None if grad is None else phi.lifts[0].pullback(at, grad))

    @final
    def directional(self, phi: Feature, at: Tensor, source: Particles, vectors: Tensor, need: Need) -> Field:
        _refuse_graph(phi, at, source, vectors)
        X, Y = _lifted(phi, at, source)
        V = phi.lifts[1].push(source.points, vectors * source.mass[:, None])
        lifted = self.directed_sums(phi, X, Y, V, need)
        grad = lifted.maybe_grad
        return Field(lifted.maybe_value, None if grad is None else phi.lifts[0].pullback(at, grad))

    @final
    def vector_sum(self, phi: Feature, at: Tensor, source: Particles, vectors: Tensor) -> Tensor:
        _refuse_graph(phi, at, source, vectors)
        X, Y = _lifted(phi, at, source)
        return self.vector_sums(phi, X, Y, vectors * source.mass[:, None])

    @final
    def take(self, measure: Particles, index: Tensor) -> Particles:
        return measure.take(index)

    @final
    def total(self, measure: Particles, values: Tensor) -> Tensor:
        return values.sum(0)


def _refuse_graph(phi: Feature, at: Tensor, source: Particles, *vectors: Tensor) -> None:
    """Raises MeasureflowError if torch would record this sum: reducers reuse buffers, so its graph would be missing or wrong."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in (at, source.points, source.log_mass, *vectors)):
        raise MeasureflowError(
            f"sums of {phi.kind!r} by a reducer are not differentiable by torch, and one of the tensors requires a gradient;"
            " for the gradient in x ask for Need.GRAD at x.detach(), and for a graph write the sum in torch:"
            " `phi.pair(x, mu.points) @ mu.mass`"
        )


def _lifted(phi: Feature, at: Tensor, source: Particles) -> tuple[Tensor, Tensor]:
    """Both sides lifted; raises ValueError where their widths do not fit."""
    X, Y = phi.lifts[0].forward(at), phi.lifts[1].forward(source.points)
    if phi.form != "autograd" and X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"{phi} pairs points of width {X.shape[1]} with points of width {Y.shape[1]}: the two measures' dimensions"
            f" ({at.shape[1]} and {source.dim}) do not fit this feature"
        )
    return X, Y


Work = Callable[[Local], Any]


@final
@attrs.frozen
class Served(Local):
    """Reductions handed, one by one, to `serve(request, phi, work)`, which chooses a reducer and returns `work(reducer)`."""

    kind: ClassVar[str] = "served"
    serve: Callable[[Request, Feature, Work], Any]

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        def work(reducer: Local) -> Field:
            return reducer.sums(phi, X, Y, a, need)

        result: Field = self.serve(request("sums", phi, X, Y, need), phi, work)
        return result

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        def work(reducer: Local) -> Field:
            return reducer.directed_sums(phi, X, Y, V, need)

        result: Field = self.serve(request("directed", phi, X, Y, need), phi, work)
        return result

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        def work(reducer: Local) -> Tensor:
            return reducer.vector_sums(phi, X, Y, V)

        result: Tensor = self.serve(request("vectors", phi, X, Y, Need.VALUE), phi, work)
        return result


Pick = Callable[[Request], Local]


def auto(pick: Pick) -> Served:
    """The reducer that `pick` names for each request."""
    return Served(lambda asked, phi, work: work(pick(asked)))


def request(op: Op, phi: Feature, X: Float[Tensor, "n D"], Y: Float[Tensor, "m D"], need: Need) -> Request:
    """The request that the sums of phi at lifted X over lifted Y are."""
    return Request(op, X.shape[0], Y.shape[0], X.shape[1], phi.profile_kind, phi.form, X.dtype, X.device, need)
