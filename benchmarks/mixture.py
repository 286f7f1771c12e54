"""A mixture of von Mises-Fisher laws on S^2 fitted by EM: what the earth experiments are held against."""

import math

import attrs
import numpy as np

LARGEST = 3000.0  # concentration: the narrowest bump of the energies it is compared with


@attrs.frozen(eq=False)
class Mixture:
    """Log weights (K,), unit means (K, 3), concentrations (K,)."""

    log_weight: np.ndarray
    mean: np.ndarray
    kappa: np.ndarray

    def log_terms(self, x: np.ndarray) -> np.ndarray:
        """log of weight times density against the area of S^2, (n, K)."""
        k = self.kappa
        log_height = np.log(k) - np.log(2 * math.pi) - np.log1p(-np.exp(-2 * k))
        return self.log_weight + log_height + k * (x @ self.mean.T - 1)

    def nll(self, x: np.ndarray) -> float:
        """-mean log density at x (n, 3)."""
        return -float(np.logaddexp.reduce(self.log_terms(x), axis=1).mean())


def fit(x: np.ndarray, components: int, rng: np.random.Generator, rounds: int = 150) -> Mixture:
    """EM from means at random data points; concentrations by the closed approximation of Banerjee et al. (2005)."""
    mixture = Mixture(
        np.full(components, -math.log(components)), x[rng.permutation(len(x))[:components]], np.full(components, 30.0)
    )
    for _ in range(rounds):
        terms = mixture.log_terms(x)
        share = np.exp(terms - np.logaddexp.reduce(terms, axis=1, keepdims=True))
        size, pull = share.sum(0) + 1e-9, share.T @ x
        length = np.maximum(np.linalg.norm(pull, axis=1), 1e-9)
        r = np.minimum(length / size, 1 - 1e-5)
        kappa = np.clip(r * (3 - r**2) / (1 - r**2), 1e-3, LARGEST)
        mixture = Mixture(np.log(size / size.sum()), pull / length[:, None], kappa)
    return mixture


def chosen(train: np.ndarray, validation: np.ndarray, seed: int) -> Mixture:
    """The mixture with the lowest validation figure among several numbers of components, two starts each."""
    rng = np.random.default_rng(seed)
    tried = [fit(train, k, rng) for k in (5, 10, 20, 40, 80, 160, 320) if k <= len(train) // 2 for _ in range(2)]
    return min(tried, key=lambda mixture: mixture.nll(validation))
