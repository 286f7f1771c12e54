"""Algorithm 1 in plain torch, for the sphere and ReLU: an independent transcription that the engine is held against."""

import math

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=1, keepdim=True)


def relu_sum(points: Tensor, others: Tensor, masses: Tensor) -> tuple[Tensor, Tensor]:
    """sum_j masses_j relu(<points_i, others_j>) and its gradient in points."""
    inner = points @ others.T
    return inner.clamp(min=0) @ masses, (inner > 0).to(points.dtype) @ (masses[:, None] * others)


class Algorithm1:
    """State X (N, d), theta (m, d), signs s and weights w (m,); data (n, d). Call `step` with this step's draws."""

    def __init__(
        self, X: Tensor, theta: Tensor, s: Tensor, w: Tensor, data: Tensor, h: float, a: float, R: float, sequential: bool
    ):
        self.X, self.theta, self.s, self.w, self.data = X, theta, s, w, data
        self.h, self.a, self.R, self.sequential = h, a, R, sequential

    def step(self, who: Tensor, where: Tensor, zeta: Tensor) -> None:
        """who (N,) bool: restarted; where (N,): data points they restart at; zeta (N, d): standard normals."""
        old = self.X
        X = torch.where(who[:, None], self.data[where], old)
        _, slope = relu_sum(X, self.theta, self.s * self.w / len(self.w))
        new = unit(X - self.h * slope + math.sqrt(2 * self.h) * zeta)
        seen = new if self.sequential else old
        F_nu, G_nu = relu_sum(self.theta, seen, torch.full((len(seen),), 1 / len(seen), dtype=X.dtype))
        F_n, G_n = relu_sum(self.theta, self.data, torch.full((len(self.data),), 1 / len(self.data), dtype=X.dtype))
        F, G = F_nu - F_n, G_nu - G_n
        G = G - self.theta * (G * self.theta).sum(1, keepdim=True)
        eta = self.h * self.a
        self.theta = unit(self.theta + eta * self.s[:, None] * G)
        w = self.w * torch.exp(eta * self.s * F)
        self.w = w * self.R / max(float(w.mean()), self.R)
        self.X = new

    def kl(self, test: Tensor, teacher: Tensor, a: Tensor) -> float:
        f, _ = relu_sum(test, self.theta, self.s * self.w / len(self.w))
        gap = relu_sum(test, teacher, a / len(a))[0] - f
        return float(gap.exp().mean().log() - gap.mean())

    def score(self, test: Tensor, teacher: Tensor, a: Tensor) -> float:
        gap = relu_sum(test, self.theta, self.s * self.w / len(self.w))[1] - relu_sum(test, teacher, a / len(a))[1]
        gap = gap - test * (gap * test).sum(1, keepdim=True)
        return float((gap**2).sum(1).mean())
