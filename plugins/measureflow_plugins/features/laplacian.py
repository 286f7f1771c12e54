"""The Laplacian in x of a feature, as a feature of its own: what score matching averages over the data."""

from typing import Any, ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Autograd, DotProduct, Feature, Identity, Radial, Symbolic
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
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


@final
@attrs.frozen
class AutogradLaplacian(Autograd):
    """Laplacian in x of any torch function phi(x, theta), by differentiating it twice along each of the d coordinates.

    `on` "sphere" takes phi(x / |x|, theta), whose Laplacian at |x| = 1 is Laplace and Beltrami's. Raises MeasureflowError
    where torch finds no second derivative (a network of ReLUs only: it is a sum of deltas, which torch takes for 0).
    """

    kind: ClassVar[str] = "autograd-laplacian"
    inner: Feature
    on: Literal["flat", "sphere"] = "flat"

    def pair(self, x: Tensor, theta: Tensor) -> Tensor:
        with torch.enable_grad():
            return torch.stack(
                [self._second(x, theta, axis) for axis in torch.eye(x.shape[1], dtype=x.dtype, device=x.device)]
            ).sum(0)

    def _second(self, x: Tensor, theta: Tensor, axis: Tensor) -> Tensor:
        s = x.new_zeros(x.shape[0], requires_grad=True)
        moved = x + s[:, None] * axis
        value = self.inner.pair(torch.nn.functional.normalize(moved, dim=1) if self.on == "sphere" else moved, theta)
        return self._along(self._along(value, s), s)

    def _along(self, value: Tensor, s: Tensor) -> Tensor:
        """d value_ij / d s_i for every j at once, as the transpose of a transpose."""
        one = torch.ones_like(value).requires_grad_()
        try:
            (slope,) = torch.autograd.grad((value * one).sum(), s, create_graph=True)
            (derivative,) = torch.autograd.grad(slope.sum(), one, create_graph=True)
        except RuntimeError:
            raise MeasureflowError(
                f"{self.inner}: torch finds no second derivative; a smooth activation (tanh, softplus) has one"
            ) from None
        return derivative

    def parameter_space(self, x: Space) -> Space:
        return self.inner.parameter_space(x)


def _derivative(phi: Feature, u: Symbolic, order: int) -> Symbolic:
    """The inner profile on a copy, which it may overwrite."""
    return phi.profile(u.clone() if isinstance(u, Tensor) else u, order)


def laplacian(phi: Feature, x: Space) -> Feature:
    """The Laplacian of phi(., theta) on the space `x`; raises ValueError where this page has no formula for it."""
    sphere = isinstance(x.domain, Sphere)
    if not sphere and not isinstance(x.domain, Euclidean):
        raise ValueError(f"no Laplacian is known on {x.domain.kind}; known: euclidean, sphere")
    if phi.form == "autograd":
        return AutogradLaplacian(phi, "sphere" if sphere else "flat")
    if phi.form == "dot" and sphere:
        return ZonalLaplacian(phi, x.dim)
    return RadialLaplacian(phi, x.dim, "sphere" if sphere else "euclidean")
