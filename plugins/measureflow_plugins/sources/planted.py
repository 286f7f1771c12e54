"""The law exp(-f*) on a sphere when f* depends on J coordinates only: exact sampling, log Z, energy mean, a proved bound."""

import itertools
from typing import final

import attrs
import numpy as np

BATCH = 2**18  # proposals at a time: their J coordinates stay in cache
MONTE_CARLO = 2**22


@final
@attrs.frozen(eq=False)
class Planted:
    """f*(x) = mean_j a_j relu(<theta_j, x>) on S^{d-1}: neurons (J, d), unit rows; weights a (J,).

    f* depends on x only through u, its r <= J coordinates in the span of the neurons. Under the uniform law |u|^2 is
    Beta(r/2, (d-r)/2) and u/|u| uniform, so a proposal costs r numbers instead of d.
    """

    neurons: np.ndarray
    weights: np.ndarray

    @property
    def basis(self) -> np.ndarray:
        """Orthonormal rows (r, d) of the neurons' span."""
        _, singular, rows = np.linalg.svd(self.neurons, full_matrices=False)
        return rows[singular > 1e-10 * singular[0]]

    @property
    def lower_bound(self) -> float:
        """min f*, attained if all weights are negative, else a bound.

        Positive weights only raise f*. For the others, -f* J <= sum_{j in S} |a_j| <theta_j, x> with S the active ones,
        which is at most the largest |sum_{j in S} |a_j| theta_j| over all subsets S.
        """
        pull = [abs(a) * theta for a, theta in zip(self.weights, self.neurons, strict=True) if a < 0]
        subsets = itertools.chain.from_iterable(itertools.combinations(pull, k) for k in range(1, len(pull) + 1))
        return -max((float(np.linalg.norm(np.sum(s, 0))) for s in subsets), default=0.0) / len(self.weights)

    def energy(self, u: np.ndarray) -> np.ndarray:
        """f* (n,) at coordinates u (n, r) in the basis."""
        inner = u @ (self.basis @ self.neurons.T)
        return np.maximum(inner, 0, out=inner) @ (self.weights / len(self.weights))

    def sample(self, n: int, acceptance: float, rng: np.random.Generator) -> np.ndarray:
        """n exact samples (n, d), given the known acceptance (which only sets how much is proposed at a time)."""
        basis, floor = self.basis, self.lower_bound
        kept: list[np.ndarray] = []
        count = 0
        while count < n:
            u = self.proposals(min(BATCH, int(1.1 * (n - count) / acceptance) + 64), rng)
            accepted = u[rng.standard_exponential(len(u)) > self.energy(u) - floor]
            kept.append(accepted)
            count += len(accepted)
        u = np.concatenate(kept)[:n]
        normal = rng.standard_normal((n, self.neurons.shape[1]))
        across = normal - normal @ basis.T @ basis
        length = np.linalg.norm(across, axis=1, keepdims=True)
        across *= np.sqrt(np.maximum(1 - (u**2).sum(1, keepdims=True), 0)) / np.where(length > 1e-12, length, 1)
        return u @ basis + (across if len(basis) < self.neurons.shape[1] else 0)

    def proposals(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Coordinates u (n, r) of uniform points of the sphere."""
        r, d = self.basis.shape
        if r == 2:
            angle = rng.random(n) * (2 * np.pi)
            direction = np.stack([np.cos(angle), np.sin(angle)], 1)
        else:
            direction = rng.standard_normal((n, r))
            direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return direction * np.sqrt(_squared_radius(r, d, n, rng))[:, None]

    def moments(self) -> tuple[float, float]:
        """(log Z, mean of f*): by quadrature for r <= 2, else by Monte Carlo over 2^22 proposals of a fixed seed."""
        r = len(self.basis)
        u = self._grid() if r <= 2 else self.proposals(MONTE_CARLO, np.random.default_rng(0))
        f = self.energy(u)
        weight = np.exp(-(f - f.min()))
        return float(np.log(weight.mean()) - f.min()), float((f * weight).sum() / weight.sum())

    def _grid(self) -> np.ndarray:
        """Equally weighted nodes (n, r): midpoints in the quantiles of |u|^2, equidistant directions."""
        r, d = self.basis.shape
        directions = 2048 if r == 2 else 2
        quantiles = (np.arange(1 if d == r else 4096 // r) + 0.5) / (1 if d == r else 4096 // r)
        angle = (np.arange(directions) + 0.5) * (2 * np.pi / directions)
        unit = np.stack([np.cos(angle), np.sin(angle)], 1) if r == 2 else np.array([[-1.0], [1.0]])
        radius = np.sqrt(_radius_quantile(r, d, quantiles))
        return (radius[:, None, None] * unit[None]).reshape(-1, r)


def _squared_radius(r: int, d: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """|u|^2 ~ Beta(r/2, (d-r)/2)."""
    if d == r:
        return np.ones(n)
    return _radius_quantile(2, d, rng.random(n)) if r == 2 else rng.beta(r / 2, (d - r) / 2, n)


def _radius_quantile(r: int, d: int, q: np.ndarray) -> np.ndarray:
    """Quantiles of |u|^2 for r = 2, in closed form, and for r = 1, by inverting the cumulated density of an angle."""
    if d == r:
        return np.ones_like(q)
    if r == 2:
        return 1 - (1 - q) ** (2 / (d - 2))
    angle = np.linspace(0, np.pi / 2, 2**16 + 1)  # u = cos(angle) has density sin(angle)^(d-2)
    density = np.sin((angle[1:] + angle[:-1]) / 2) ** (d - 2)
    cumulated = np.concatenate([[0.0], np.cumsum(density)])
    return np.cos(np.interp(q, cumulated / cumulated[-1], angle)) ** 2
