"""Lifts of the torus: angles to cosines and sines, from which every trigonometric payoff is linear."""

import functools
import math
from typing import Any, final

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Lift


@final
@attrs.frozen
class Circles(Lift):
    """(x_1 .. x_d) -> (cos x_1 .. cos x_d, sin x_1 .. sin x_d)."""

    def forward(self, points: Tensor) -> Tensor:
        return torch.cat([points.cos(), points.sin()], 1)

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        on_cos, on_sin = cotangents.tensor_split(2, 1)
        return on_sin * points.cos() - on_cos * points.sin()

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return torch.cat([-points.sin() * vectors, points.cos() * vectors], 1)


@final
@attrs.frozen
class Waves(Lift):
    """x -> (a_k cos(<m_k, x> + b_k), sign a_k sin(<m_k, x> + b_k)) for K waves with random integer frequencies m_k.

    m_k is uniform in [-highest, highest]^d without 0. Where `payoff`, a_k are normal with variance 1/K and b_k uniform,
    else a = 1 and b = 0; sign is -1 where `payoff`, so that the inner product with plain waves is a sum of
    cos(<m_k, x> + <n_k, y> + b_k).
    """

    waves: int
    highest: int
    seed: int
    payoff: bool

    def forward(self, points: Tensor) -> Tensor:
        a, angle, _ = self._angles(points)
        return torch.cat([a * angle.cos(), self._sign * a * angle.sin()], 1)

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        a, angle, m = self._angles(points)
        on_cos, on_sin = cotangents.tensor_split(2, 1)
        slope: Tensor = (a * (self._sign * on_sin * angle.cos() - on_cos * angle.sin())) @ m
        return slope

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        a, angle, m = self._angles(points)
        along = a * (vectors @ m.T)
        return torch.cat([-angle.sin() * along, self._sign * angle.cos() * along], 1)

    @property
    def _sign(self) -> float:
        return -1.0 if self.payoff else 1.0

    def _angles(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, b, m = _on(points.dtype, points.device, self.waves, self.highest, self.seed, self.payoff, points.shape[1])
        return a, points @ m.T + b, m


@functools.lru_cache(maxsize=64)
def _on(dtype: torch.dtype, device: torch.device, *settings: Any) -> tuple[Tensor, ...]:
    """The waves on a device, copied once: a copy at every use would make the host wait for a GPU."""
    return tuple(part.to(device, dtype) for part in drawn(*settings))


@functools.lru_cache(maxsize=64)
def drawn(waves: int, highest: int, seed: int, payoff: bool, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Amplitudes (K,), phases (K,), frequencies (K, d) of the waves of one side, the same for the same seed."""
    generator = torch.Generator().manual_seed(2 * seed + payoff)
    m = torch.randint(-highest, highest + 1, (waves, d), generator=generator)
    m[(m == 0).all(1), 0] = 1
    a = torch.randn(waves, generator=generator, dtype=torch.float64) / math.sqrt(waves)
    b = 2 * math.pi * torch.rand(waves, generator=generator, dtype=torch.float64)
    return (a, b, m.double()) if payoff else (torch.ones_like(a), torch.zeros_like(b), m.double())
