"""The noiseless MMD flow in plain torch: whole N x N kernel matrices."""

from collections.abc import Iterator

from torch import Tensor

from peers.sums import gaussian


def steps(X: Tensor, data: Tensor, h: float, length: float) -> Iterator[Tensor]:
    """X (N, d) after each step down the witness function mean_j k(x, x_j) - mean_j k(x, y_j), k the Gaussian kernel."""
    nu, law = (points.new_full((len(points),), 1 / len(points)) for points in (X, data))
    while True:
        X = X - h * (gaussian(X, X, nu, length) - gaussian(X, data, law, length))
        yield X
