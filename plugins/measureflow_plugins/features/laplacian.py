"""The Laplacian in x of a feature, as a feature of its own: what score matching averages over the data."""

from typing import Any, ClassVar, Literal, final

import attrs
from torch import Tensor

from measureflow.domain import Space
from measureflow.feature import DotProduct, Feature, Identity, Radial, Symbolic
from measureflow.schedule import within
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere


def _form(form: str) -> Any:
    """An attrs validator: a feature of that form without lifts, of which a second derivative is bounded."""

    def check(_instance: Any, attribute: Any, phi: Feature) -> None:
        if phi.form != form or phi.lifts != (Identity(), Identity()):
            raise ValueError(f"{attribute.alias} = {phi.kind}: needs a feature of form {form!r} without lifts")
        if phi.orders < 2:
            raise ValueError(f"{attribute.alias} = {phi.kind}: has {phi.orders} bounded derivatives, a Laplacian needs 2")

    return check


@final
@attrs.frozen
class ZonalLaplacian(DotProduct):
    """Laplace-Beltrami on S^{dim-1} of kappa(<x, theta>): (1 - t^2) kappa''(t) - (dim - 1) t kappa'(t), t = <x, theta>."""

    kind: ClassVar[str] = "zonal-laplacian"
    inner: Feature = attrs.field(validator=_form("dot"))
    dim: int = attrs.field(validator=within(2))

    @property
    def orders(self) -> int:
        return min(self.inner.orders - 2, 1)

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        first, second = _derivative(self.inner, u, 1), _derivative(self.inner, u, 2)
        if order == 0:
            return (1.0 - u * u) * second - (self.dim - 1.0) * u * first
        third = _derivative(self.inner, u, 3)
        return (1.0 - u * u) * third - (self.dim + 1.0) * u * second - (self.dim - 1.0) * first

    def parameter_space(self, x: Space) -> Space:
        return self.inner.parameter_space(x)


@final
@attrs.frozen
class RadialLaplacian(Radial):
    """Laplacian of rho(r2), r2 = |x - y|^2: 4 r2 rho'' + 2 dim rho' on R^dim; on the sphere S^{dim-1}, where <x, y> = 1 - r2/2,
    (4 r2 - r2^2) rho'' + (dim - 1) (2 - r2) rho'.
    """

    kind: ClassVar[str] = "radial-laplacian"
    inner: Feature = attrs.field(validator=_form("radial"))
    dim: int = attrs.field(validator=within(1))
    on: Literal["euclidean", "sphere"] = "euclidean"

    @property
    def orders(self) -> int:
        return min(self.inner.orders - 2, 1)

    def profile(self, u: Symbolic, order: int) -> Symbolic:
        first, second, d = _derivative(self.inner, u, 1), _derivative(self.inner, u, 2), float(self.dim)
        if order == 1:
            third = _derivative(self.inner, u, 3)
        if self.on == "euclidean":
            return 4.0 * u * second + 2.0 * d * first if order == 0 else 4.0 * u * third + (4.0 + 2.0 * d) * second
        if order == 0:
            return (4.0 - u) * u * second + (d - 1) * (2.0 - u) * first
        return (4.0 - u) * u * third + (d + 1) * (2.0 - u) * second - (d - 1) * first


def _derivative(phi: Feature, u: Symbolic, order: int) -> Symbolic:
    """The inner profile on a copy, which it may overwrite."""
    return phi.profile(u.clone() if isinstance(u, Tensor) else u, order)


def laplacian(phi: Feature, x: Space) -> Feature:
    """The Laplacian of phi(., theta) on the space `x`; raises ValueError where this page has no formula for it."""
    if isinstance(x.domain, Sphere):
        return ZonalLaplacian(phi, x.dim) if phi.form == "dot" else RadialLaplacian(phi, x.dim, "sphere")
    if isinstance(x.domain, Euclidean):
        return RadialLaplacian(phi, x.dim)
    raise ValueError(f"no Laplacian is known on {x.domain.kind}; known: euclidean, sphere")
