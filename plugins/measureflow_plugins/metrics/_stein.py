"""Kernel Stein discrepancy by reductions: how far atoms are from a law that is known by its score."""

from typing import final

import attrs
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian_polynomial import GaussianPolynomial

SHIFTS = 8  # pairs of each atom with others from which the spread of u is estimated


@final
@attrs.frozen(eq=False)
class Operator:
    """The Stein kernel u(x, y) of a Gaussian kernel k, put together from radial features and scores s.

    On R^d, k = `inner`:        u = s(x).s(y) k + s(x).grad_y k + s(y).grad_x k + tr grad_x grad_y k
    On S^(d-1), L = Laplacian:  u = (s(x).grad_x)(s(y).grad_y) k + s(x).grad_x Lk + s(y).grad_y Lk + L^2 k
    `across` is -k, or Lk, of which the first-order terms are gradients; `rest` the trace, or L^2 k.
    """

    inner: GaussianPolynomial
    across: GaussianPolynomial
    rest: GaussianPolynomial
    spherical: bool

    def rows(self, mu: Particles, s: Tensor, reducer: Reducer) -> Float[Tensor, " M"]:
        """sum_j mass_j u(x_i, x_j) for every atom i."""
        x = mu.points
        if self.spherical:
            first = reducer.directional(self.inner, x, mu, s, Need.GRAD).grad
        else:
            first = reducer.vector_sum(self.inner, x, mu, s)
        first = first + reducer.field(self.across, x, mu, Need.GRAD).grad
        cross = reducer.directional(self.across, x, mu, s, Need.VALUE).value
        return (s * first).sum(1) + cross + reducer.field(self.rest, x, mu, Need.VALUE).value

    def pairs(self, x: Tensor, s: Tensor, y: Tensor, r: Tensor) -> Float[Tensor, " n"]:
        """u(x_i, y_i), with scores s_i at x_i and r_i at y_i."""
        z = x - y
        r2, sz, rz, sr = z.square().sum(1), (s * z).sum(1), (r * z).sum(1), (s * r).sum(1)
        if self.spherical:
            first = -4 * self.inner.profile(r2, 2) * sz * rz - 2 * self.inner.profile(r2, 1) * sr
        else:
            first = self.inner.profile(r2, 0) * sr
        u: Tensor = first + 2 * self.across.profile(r2, 1) * (sz - rz) + self.rest.profile(r2, 0)
        return u


def operator(mu: Particles, length: float) -> Operator:
    """The operator of the Gaussian kernel on the domain of `mu`; raises MeasureflowError where none is known."""
    k, d = GaussianPolynomial(length=length), mu.dim
    if isinstance(mu.domain, Sphere):
        Lk = laplacian(k, d)
        return Operator(k, Lk, laplacian(Lk, d), True)
    if isinstance(mu.domain, Euclidean):
        trace = attrs.evolve(k, coefficients=(d / length**2, -1 / length**4))
        return Operator(k, attrs.evolve(k, coefficients=(-1.0,)), trace, False)
    raise MeasureflowError(f"metrics: the kernel Stein discrepancy is known on sphere and euclidean, not on {mu.domain.kind}")


def laplacian(g: GaussianPolynomial, d: int) -> GaussianPolynomial:
    """The Laplace-Beltrami operator of S^(d-1) on g(|x - y|^2): (4 r2 - r2^2) g'' + (d - 1) (2 - r2) g'."""
    second = np.polymul([-1.0, 4.0, 0.0], g.derivative(2).coefficients[::-1])
    first = np.polymul([-(d - 1.0), 2.0 * (d - 1)], g.derivative(1).coefficients[::-1])
    return attrs.evolve(g, coefficients=tuple(float(c) for c in np.polyadd(second, first)[::-1]))


def stein(mu: Particles, s: Float[Tensor, "M d"], length: float, reducer: Reducer) -> tuple[Tensor, Tensor]:
    """The squared discrepancy without its diagonal, so of mean 0 under the law itself, and its standard error.

    mu positive, taken as a probability; s (M, d) the tangent score of the law at the atoms. No M x M matrix exists: five
    reductions of M x M d work. The error bar is that of a U-statistic, for equal masses 4 Var(E[u | x]) / M + 2 E u^2 / M^2, the
    first term from the row means, whose own noise E u^2 / M is taken off.
    """
    u = operator(mu, length)
    mass = mu.mass / mu.mass.sum()
    probability = mu.replace(sign=torch.ones_like(mass), log_mass=mass.log())
    diagonal = u.pairs(mu.points, s, mu.points, s)
    off = 1 - mass.square().sum()
    rows = (u.rows(probability, s, reducer) - mass * diagonal) / off
    value = (mass * rows).sum()
    spread = 4 * (mass * (rows - value)).square().sum()
    noise = mass.square().sum() ** 2 * _spread(u, mu, s, mass)
    return value, ((spread - 4 * noise).clamp(min=0) + 2 * noise).sqrt()


def _spread(u: Operator, mu: Particles, s: Tensor, mass: Tensor) -> Tensor:
    """The mean of u^2 over pairs of different atoms, from a few pairs of each."""
    shifts = [max(mu.size * (k + 1) // (SHIFTS + 1), 1) for k in range(SHIFTS)]
    means = []
    for k in shifts:
        pair = mass * mass.roll(k)
        square = u.pairs(mu.points, s, mu.points.roll(k, 0), s.roll(k, 0)).square()
        means.append((pair * square).sum() / pair.sum())
    return torch.stack(means).mean()
