"""Exact samples of a Gaussian mixture."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Domain, Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.observe.source import Setting, Source, World
from measureflow_plugins.domains.euclidean import Euclidean

Points = tuple[tuple[float, ...], ...]


def _points(_instance: object, attribute: object, value: Points) -> None:
    if not value or not value[0] or len({len(row) for row in value}) > 1:
        raise ValueError(f"means must be vectors of one length d >= 1, got {[list(row) for row in value]}")


def _euclidean(_instance: object, attribute: object, value: Domain) -> None:
    if not isinstance(value, Euclidean):
        raise ValueError(f"a Gaussian mixture lives on R^d; domain must be 'euclidean', got {value.kind!r}")


@final
@attrs.frozen
class Mixture(Source):
    """`train` and `test` exact samples of sum_k c_k N(m_k, std^2 I) on R^d; `means` m_k, `weights` c_k over their sum.

    `domain` says what base measure densities are written against; an energy in R^d usually wants a Gaussian one.
    """

    kind: ClassVar[str] = "mixture"
    means: Points = attrs.field(validator=_points)
    train: int = attrs.field(validator=within(1))
    test: int = attrs.field(default=0, validator=within(0))
    std: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    weights: tuple[float, ...] | None = None
    domain: Domain = attrs.field(factory=Euclidean, validator=_euclidean)

    def __attrs_post_init__(self) -> None:
        given = self.weights
        if given is not None and (len(given) != len(self.means) or not all(0 < c < math.inf for c in given)):
            raise ValueError(f"{len(self.means)} means need as many positive weights, got {list(given)}")

    def space(self) -> Space:
        return Space(self.domain, len(self.means[0]))

    def sizes(self) -> Mapping[str, int]:
        return {"data": self.train} | ({"test": self.test} if self.test else {})

    def world(self, setting: Setting) -> World:
        draws = {name: self._sample(setting, name, size) for name, size in self.sizes().items()}
        return World(self.space(), {name: Particles.uniform(points, self.domain) for name, points in draws.items()})

    def log_density(self, points: Tensor) -> Tensor:
        """log of the mixture's density (n,) against Lebesgue measure."""
        means, log_weights = self._parameters(points)
        r2 = (points[:, None] - means).square().sum(2)
        constant = 0.5 * points.shape[1] * math.log(2 * math.pi * self.std**2)
        return torch.logsumexp(log_weights - r2 / (2 * self.std**2), 1) - constant

    def _sample(self, setting: Setting, name: str, size: int) -> Tensor:
        like, rows = setting.tensor([]), range(size)
        means, log_weights = self._parameters(like)
        which = torch.searchsorted(log_weights.exp().cumsum(0)[:-1].contiguous(), setting.noise.uniform_rows(rows, like, name))
        return means[which] + self.std * setting.noise.normal_rows(rows, means.shape[1], like, name)

    def _parameters(self, like: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.tensor(self.weights or [1.0] * len(self.means), dtype=like.dtype, device=like.device)
        return torch.tensor(self.means, dtype=like.dtype, device=like.device), (weights / weights.sum()).log()
