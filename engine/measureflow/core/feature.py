"""Features: the function phi(x, theta) through which one measure acts on another."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Space

Symbolic = Any  # a torch tensor or a KeOps LazyTensor: profiles are written once for both
Form = Literal["dot", "radial", "autograd"]


def heaviside(u: Symbolic) -> Symbolic:
    """1 where u > 0, else 0 (0 at 0), in the dtype of `u`; overwrites a tensor that needs no gradient."""
    if isinstance(u, Tensor):
        return u.gt(0).to(u.dtype) if u.requires_grad else u.gt_(0)
    return u.relu().sign()


def positive(u: Symbolic) -> Symbolic:
    """max(u, 0); overwrites a tensor that needs no gradient."""
    return u.relu_() if isinstance(u, Tensor) and not u.requires_grad else u.relu()


def exponential(u: Symbolic) -> Symbolic:
    """exp(u), or exp(-87) for u below -87; overwrites a tensor that needs no gradient.

    Below -87 float32 leaves its normal numbers, and the vectorised exponential is ten times slower.
    """
    return u.clamp_(min=-87).exp_() if isinstance(u, Tensor) and not u.requires_grad else u.exp()


def scaled(u: Symbolic, factor: float) -> Symbolic:
    """factor u; overwrites a tensor that needs no gradient."""
    return u.mul_(factor) if isinstance(u, Tensor) and not u.requires_grad else u * factor


class Lift(ABC):
    """A map of points `(n, d) -> (n, D)` applied to one side of a feature before its profile.

    Implement `forward`, its derivative `push(points, vectors (n, d)) -> (n, D)` and the transposed derivative
    `pullback(points, cotangents (n, D)) -> (n, d)`, which brings a gradient back after the reduction.
    """

    @abstractmethod
    def forward(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n D"]:
        """The lifted points."""

    @abstractmethod
    def pullback(self, points: Float[Tensor, "n d"], cotangents: Float[Tensor, "n D"]) -> Float[Tensor, "n d"]:
        """d forward(points)^T cotangents, row by row."""

    @abstractmethod
    def push(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n D"]:
        """d forward(points) vectors, row by row."""


@final
@attrs.frozen
class Identity(Lift):
    """x -> x."""

    def forward(self, points: Tensor) -> Tensor:
        return points

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        return cotangents

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return vectors


@final
@attrs.frozen
class AppendOne(Lift):
    """x -> (x, 1)."""

    def forward(self, points: Tensor) -> Tensor:
        return torch.cat([points, points.new_ones(points.shape[0], 1)], 1)

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        return cotangents[:, :-1]

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return torch.cat([vectors, torch.zeros_like(vectors[:, :1])], 1)


@final
@attrs.frozen
class Normalise(Lift):
    """theta -> theta / |theta|."""

    def forward(self, points: Tensor) -> Tensor:
        unit: Tensor = points / points.norm(dim=1, keepdim=True)
        return unit

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        norm = points.norm(dim=1, keepdim=True)
        unit = points / norm
        pulled: Tensor = (cotangents - unit * (unit * cotangents).sum(1, keepdim=True)) / norm
        return pulled

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return self.pullback(points, vectors)  # the derivative of a normalisation is symmetric


class Feature(ABC):
    """phi(x, theta) with two sides, and the only place where a model's formula is written.

    Do not subclass `Feature` itself: take the family that fits and write its scalar profile.

    - `DotProduct`: phi = kappa(<x, theta>);
    - `Radial`: phi = rho(|x - theta|^2);
    - `Autograd`: phi is any torch function, differentiated by torch: a whole network, say, so that gamma is a measure over
      its parameters. Slower, and torch only.

    A profile takes the derivative's `order` and must be valid on a torch tensor and on a KeOps LazyTensor: use methods that
    both have (arithmetic with floats, `**` with a number, `abs`, `acos`, `asin`, `atan`, `clamp`, `cos`, `exp`, `log`, `relu`,
    `rsqrt`, `sign`, `sin`, `sqrt`, `square`) and the helpers `heaviside`, `positive`, `exponential`.
    Its argument is a scratch tile that it may overwrite, as the helpers do. `orders` says up to which order the
    derivative is a bounded function. A `Lift` per side wraps the profile, e.g. theta -> theta/|theta|; gradients are
    pulled back after the reduction. `degree`, where kappa is positively homogeneous, lets the engine take values from
    gradients (Euler's identity). `parameter_space(x)` says where theta lives when x lives in the given space, and thereby
    its initial law. `phi.T` swaps the sides.
    """

    family: ClassVar[str] = "feature"
    kind: ClassVar[str]

    @property
    @abstractmethod
    def form(self) -> Form:
        """How the profile's argument is formed from two points."""

    @abstractmethod
    def profile(self, u: Symbolic, order: int) -> Symbolic:
        """The derivative of the given order of the scalar profile at `u`, elementwise; may overwrite `u`."""

    @property
    @abstractmethod
    def orders(self) -> int:
        """Highest order for which `profile` is a bounded function."""

    @property
    @abstractmethod
    def degree(self) -> int | None:
        """Degree of positive homogeneity of a dot-product profile, if it has one."""

    @property
    @abstractmethod
    def lifts(self) -> tuple[Lift, Lift]:
        """The lifts of the x side and of the theta side."""

    @abstractmethod
    def pair(self, x: Float[Tensor, "n d"], theta: Float[Tensor, "m p"]) -> Float[Tensor, "n m"]:
        """The whole matrix phi(x_i, theta_j), differentiable by torch: for small problems and as the truth in tests."""

    @abstractmethod
    def parameter_space(self, x: Space) -> Space:
        """Where theta lives, given where x lives."""

    @property
    def profile_kind(self) -> str:
        """The kind whose profile is evaluated: what its sums cost depends on it."""
        return self.kind

    @property
    def T(self) -> "Feature":  # noqa: N802 - the transpose, as in tensors
        """phi with its sides swapped: sums over x at each theta."""
        return Swapped(self)


class DotProduct(Feature):
    """phi(x, theta) = kappa(<x, theta>): implement `profile(u, order)`, `orders`, `parameter_space`; wrap sides with `lifts`."""

    form: ClassVar[Form] = "dot"

    @property
    def degree(self) -> int | None:
        return None

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Identity(), Identity())

    @final
    def pair(self, x: Tensor, theta: Tensor) -> Tensor:
        on_x, on_theta = self.lifts
        matrix: Tensor = self.profile(on_x.forward(x) @ on_theta.forward(theta).T, 0)
        return matrix


class Radial(Feature):
    """phi(x, y) = rho(|x - y|^2): implement `profile(r2, order)` with derivatives in r2, and `orders`.

    Both sides live in one space unless `parameter_space` is overridden.
    """

    form: ClassVar[Form] = "radial"
    degree: ClassVar[None] = None

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Identity(), Identity())

    def parameter_space(self, x: Space) -> Space:
        """Where theta lives, given where x lives: by default in the same space."""
        return x

    @final
    def pair(self, x: Tensor, theta: Tensor) -> Tensor:
        on_x, on_theta = self.lifts
        matrix: Tensor = self.profile((on_x.forward(x)[:, None] - on_theta.forward(theta)).square().sum(2), 0)
        return matrix


class Autograd(Feature):
    """phi(x, theta) by any torch function: implement `pair(x (n, d), theta (m, p)) -> (n, m)` and `parameter_space`.

    `pair` must be differentiable by torch in both arguments, twice where score matching is wanted.
    """

    form: ClassVar[Form] = "autograd"
    degree: ClassVar[None] = None
    orders: ClassVar[int] = 0

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Identity(), Identity())

    @final
    def profile(self, u: Symbolic, order: int) -> Symbolic:
        raise TypeError(f"{self.kind} has no scalar profile: it is differentiated by torch")


@final
@attrs.frozen
class Swapped(Feature):
    """A feature seen from its other side."""

    kind: ClassVar[str] = "swapped"
    inner: Feature

    @property
    def form(self) -> Form:
        return self.inner.form

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        return self.inner.profile(u, order)

    @property
    def orders(self) -> int:
        return self.inner.orders

    @property
    def degree(self) -> int | None:
        return self.inner.degree

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        x, theta = self.inner.lifts
        return (theta, x)

    def pair(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.inner.pair(theta, x).T

    @property
    def profile_kind(self) -> str:
        return self.inner.profile_kind

    def parameter_space(self, x: Space) -> Space:
        raise TypeError("a swapped feature has no parameters of its own; ask the feature it came from")

    @property
    def T(self) -> Feature:  # noqa: N802
        return self.inner
