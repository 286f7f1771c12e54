"""The geometry that atoms live in."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, final

import attrs
from jaxtyping import Float
from torch import Tensor


class Domain(ABC):
    """A Riemannian manifold embedded in R^d, with a base law tau that densities are written against.

    Write one when particles should live somewhere new (a torus, a ball, positive matrices). A subclass is a final frozen
    attrs class with a `kind`; it holds no tensor and no dimension: every method reads d from its argument. Points are
    rows `(n, d)` in ambient coordinates, and so are tangent vectors. Implement

    - `project(points)`: the nearest points of the domain; `retract` follows from it;
    - `tangent(points, vectors)`: the orthogonal projection of vectors on the tangent spaces at points;
    - `exp`, `log`: the exponential map and its inverse; `log_volume(points, vectors)`: the logarithm of the Jacobian
      determinant of `exp` at each tangent vector, `-inf` beyond the injectivity radius (Metropolis needs it);
    - `transport(points, vectors, along)`: parallel transport of `vectors` along the geodesic with velocity `along`;
    - `sample(normal)`: draws from tau (where tau is infinite: from a standard Gaussian), given standard normals of the
      wanted shape; `log_density`, `score`: log tau up to a constant and its tangent gradient; `flat`: True where the
      score vanishes, so that flows can skip it;
    - `distance_to(points)`: how far each point is from the domain, for error messages;
    - `dimension(d)`: the dimension of the manifold inside R^d;
    - `objection(f, d)`, if coordinates jump somewhere in the domain: why a function of coordinates is no function on it.

    `measureflow.testing.check` tries all of it on random points.
    """

    family: ClassVar[str] = "domain"
    kind: ClassVar[str]

    @abstractmethod
    def project(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The nearest points of the domain."""

    @abstractmethod
    def tangent(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Orthogonal projection of `vectors` on the tangent spaces at `points`."""

    @final
    def retract(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """`project(points + vectors)`: a first-order stand-in for `exp`."""
        return self.project(points + vectors)

    @abstractmethod
    def exp(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The end of the geodesic that starts at `points` with tangent velocity `vectors`, after unit time."""

    @abstractmethod
    def log(self, points: Float[Tensor, "n d"], targets: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """The shortest tangent vector with `exp(points, vector) = targets`."""

    @abstractmethod
    def log_volume(self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log |det d exp_p(v)|; `-inf` where |v| reaches the injectivity radius."""

    @abstractmethod
    def transport(
        self, points: Float[Tensor, "n d"], vectors: Float[Tensor, "n d"], along: Float[Tensor, "n d"]
    ) -> Float[Tensor, "n d"]:
        """Parallel transport of tangent `vectors` from `points` to `exp(points, along)`."""

    @abstractmethod
    def sample(self, normal: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Draws from the base law, pushed forward from standard normals."""

    @abstractmethod
    def log_density(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """log dtau at `points` against the domain's volume, up to a constant."""

    @abstractmethod
    def score(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """grad log tau at `points`, tangent."""

    @property
    @abstractmethod
    def flat(self) -> bool:
        """True where `score` is zero everywhere."""

    @abstractmethod
    def distance_to(self, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Distance of each row from the domain; 0 on it."""

    @abstractmethod
    def dimension(self, d: int) -> int:
        """Dimension of the manifold embedded in R^d."""

    def objection(self, f: Callable[[Float[Tensor, "n d"]], Tensor], d: int) -> str | None:
        """Why `f`, a function of points in R^d, is no function on the domain; None if nothing speaks against it."""
        return None


@final
@attrs.frozen
class Space:
    """Where a measure lives: a domain and the ambient dimension of its points."""

    domain: Domain
    dim: int
