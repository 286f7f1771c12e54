"""Test energies whose Gibbs laws are known."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, final

import attrs
import numpy as np
import torch
from torch import Tensor

from measureflow.core.measure import Field, Need
from measureflow.dynamics.coupling import Potential

Moments = tuple[np.ndarray, np.ndarray]


@attrs.frozen
class Known(Potential):
    """U with strength k; `moments(d, T)`: mean (d,) and variance (d,) of each coordinate under exp(-U/T), against Lebesgue
    measure on R^d or the uniform law on the sphere. `on` is the kind of its domain, `least` the smallest d."""

    on: ClassVar[str] = "euclidean"
    least: ClassVar[int] = 1
    k: float = 1.0

    @abstractmethod
    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U (n,) and its gradient (n, d)."""

    @abstractmethod
    def moments(self, d: int, T: float) -> Moments:
        """Mean and variance of each coordinate."""

    @final
    def __call__(self, at: Tensor, need: Need) -> Field:
        value, grad = self.parts(at)
        return Field(value if Need.VALUE in need else None, grad if Need.GRAD in need else None)


@final
class Gaussian(Known):
    """U = k |x|^2 / 2: N(0, T/k)."""

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.square().sum(1) * (self.k / 2), x * self.k

    def moments(self, d: int, T: float) -> Moments:
        return np.zeros(d), np.full(d, T / self.k)


@final
class DoubleWell(Known):
    """U = k (x_1^2 - 1)^2 + |x_2..d|^2 / 2: wells at +-1, k the height of the barrier between them."""

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, rest = x[:, :1], x[:, 1:]
        off = first.square() - 1
        value = (self.k * off.square()).squeeze(1) + rest.square().sum(1) / 2
        return value, torch.cat([4 * self.k * off * first, rest], 1)

    def moments(self, d: int, T: float) -> Moments:
        width = math.sqrt(1 + math.sqrt(80 * T / self.k))  # U > 80 T outside, below rounding
        x = np.linspace(-width, width, 4097)  # the trapezium rule is spectral for a smooth function that ends at 0
        weight = np.exp(-self.k * (x**2 - 1) ** 2 / T)
        variance = np.full(d, T)
        variance[0] = (x**2 * weight).sum() / weight.sum()
        return np.zeros(d), variance


@final
class Banana(Known):
    """U = x_1^2/2 + (x_2 - k (x_1^2 - 1))^2 / 2 + |x_3..d|^2 / 2: at T = 1 x_1 is normal, x_2 normal round a parabola."""

    least: ClassVar[int] = 2

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, off = x[:, 0], x[:, 1] - self.k * (x[:, 0].square() - 1)
        value = (first.square() + off.square() + x[:, 2:].square().sum(1)) / 2
        return value, torch.cat([(first * (1 - 2 * self.k * off))[:, None], off[:, None], x[:, 2:]], 1)

    def moments(self, d: int, T: float) -> Moments:
        mean, variance = np.zeros(d), np.full(d, T)
        mean[1] = self.k * (T - 1)
        variance[1] = T + 2 * (self.k * T) ** 2
        return mean, variance


@final
class VonMisesFisher(Known):
    """U = -k x_1 on the sphere."""

    on: ClassVar[str] = "sphere"
    least: ClassVar[int] = 2

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        grad = torch.zeros_like(x)
        grad[:, 0] = -self.k
        return x[:, 0] * -self.k, grad

    def moments(self, d: int, T: float) -> Moments:
        node, share = np.polynomial.legendre.leggauss(512)
        psi = (node + 1) * (np.pi / 2)
        u = np.cos(psi)
        weight = share * np.exp(self.k / T * (u - 1)) * np.sin(psi) ** (d - 2)
        weight /= weight.sum()
        mean, variance = np.zeros(d), np.full(d, (1 - (weight * u**2).sum()) / (d - 1))
        mean[0] = (weight * u).sum()
        variance[0] = (weight * u**2).sum() - mean[0] ** 2
        return mean, variance


KNOWN: Mapping[str, Callable[[float], Known]] = {
    "gaussian": Gaussian,
    "double-well": DoubleWell,
    "banana": Banana,
    "von-mises-fisher": VonMisesFisher,
}
