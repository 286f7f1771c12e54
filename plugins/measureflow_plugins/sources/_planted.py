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

    def sample(self, n: int, acceptance: float, rng: np.random.Generator, dtype: str = "float64") -> np.ndarray:
        """n exact samples (n, d) in a dtype, given the known acceptance (which only sets how much is proposed at a time)."""
        u = self._coordinates(n, acceptance, rng)
        x = np.empty((n, self.neurons.shape[1]), dtype)
        for start in range(0, n, BATCH):
            x[start : start + BATCH] = self._lifted(u[start : start + BATCH], rng)
        return x

    def _coordinates(self, n: int, acceptance: float, rng: np.random.Generator) -> np.ndarray:
        """u (n, r) of n exact samples, by rejection."""
        r, d = self.basis.shape
        floor = self.lower_bound
        kept: list[np.ndarray] = []
        count = 0
        while count < n:
            size = min(BATCH, int(1.1 * (n - count) / acceptance) + 64)
            radius, room = np.sqrt(_squared_radius(r, d, size, rng)), rng.standard_exponential(size)
            # f* >= floor |u| (degree one), so most proposals fall before their direction is drawn
            near = room > floor * (radius - 1)
            u = radius[near, None] * _directions(r, int(near.sum()), rng)
            accepted = u[room[near] > self.energy(u) - floor]
            kept.append(accepted)
            count += len(accepted)
        return np.concatenate(kept)[:n]

    def _lifted(self, u: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Points (n, d) with coordinates u (n, r), uniform across the span."""
        basis = self.basis
        normal = rng.standard_normal((len(u), self.neurons.shape[1]))
        across = normal - normal @ basis.T @ basis
        length = np.linalg.norm(across, axis=1, keepdims=True)
        across *= np.sqrt(np.maximum(1 - (u**2).sum(1, keepdims=True), 0)) / np.where(length > 1e-12, length, 1)
        return u @ basis + (across if len(basis) < self.neurons.shape[1] else 0)

    def proposals(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Coordinates u (n, r) of uniform points of the sphere."""
        r, d = self.basis.shape
        return np.sqrt(_squared_radius(r, d, n, rng))[:, None] * _directions(r, n, rng)

    def moments(self) -> tuple[float, float]:
        """(log Z, mean of f*): by quadrature for r <= 2, else by Monte Carlo over 2^22 proposals of a fixed seed."""
        if len(self.basis) <= 2:
            u, share = self._grid()
        else:
            u, share = self.proposals(MONTE_CARLO, np.random.default_rng(0)), np.full(MONTE_CARLO, 1 / MONTE_CARLO)
        f = self.energy(u)
        weight = share * np.exp(-(f - f.min()))
        return float(np.log(weight.sum()) - f.min()), float((f * weight).sum() / weight.sum())

    def _grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes u (n, r) and their shares of the uniform law: Gauss-Legendre in the polar angle, equidistant directions.

        |u| = cos(psi) has density cos(psi)^(r-1) sin(psi)^(d-r-1).
        """
        r, d = self.basis.shape
        x, share = np.polynomial.legendre.leggauss(512)
        psi = (x + 1) * (np.pi / 4)
        share = share * np.cos(psi) ** (r - 1) * np.sin(psi) ** (d - r - 1) if d > r else np.ones(1)
        radius = np.cos(psi) if d > r else np.ones(1)
        directions = 4096 if r == 2 else 2
        angle = (np.arange(directions) + 0.5) * (2 * np.pi / directions)
        unit = np.stack([np.cos(angle), np.sin(angle)], 1) if r == 2 else np.array([[-1.0], [1.0]])
        u = (radius[:, None, None] * unit[None]).reshape(-1, r)
        return u, np.repeat(share / share.sum(), directions) / directions


def _squared_radius(r: int, d: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """|u|^2 ~ Beta(r/2, (d-r)/2); in closed form for r = 2."""
    if d == r:
        return np.ones(n)
    return 1 - rng.random(n) ** (2 / (d - 2)) if r == 2 else rng.beta(r / 2, (d - r) / 2, n)


def _directions(r: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform unit vectors (n, r)."""
    if r == 2:
        angle = rng.random(n) * (2 * np.pi)
        return np.stack([np.cos(angle), np.sin(angle)], 1)
    normal = rng.standard_normal((n, r))
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)
