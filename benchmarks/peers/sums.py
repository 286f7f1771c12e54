"""One sum over pairs as others would write it: the gradient of sum_j a_j phi(x_i, y_j) at every x_i, (N, d).

X (N, d), Y (m, d), a (m,). ReLU is phi = relu(<x, y>), for which `dense.slope` is the plain way; the Gaussian is
phi = exp(-|x - y|^2 / (2 length^2)).
"""

import torch
from torch import Tensor


def gaussian(X: Tensor, Y: Tensor, a: Tensor, length: float) -> Tensor:
    """One N x m matrix, changed in place: |x - y|^2 by a product, then -sum_j a_j K_ij (x_i - y_j) / length^2."""
    R2 = torch.addmm(Y.square().sum(1)[None], X, Y.T, alpha=-2).add_(X.square().sum(1, keepdim=True)).clamp_(min=0)
    K = R2.mul_(-0.5 / length**2).exp_()
    return (K @ (Y * a[:, None]) - X * (K @ a)[:, None]) / length**2


def lazy_relu(X: Tensor, Y: Tensor, a: Tensor, backend: str) -> Tensor:
    """KeOps alone, in one of its schemes: "CPU", "GPU_1D" or "GPU_2D"."""
    from peers.keops import Vi, Vj

    sums: Tensor = ((Vi(X) | Vj(Y)).step() * Vj(Y * a[:, None])).sum(1, backend=backend)
    return sums


def lazy_gaussian(X: Tensor, Y: Tensor, a: Tensor, length: float, backend: str) -> Tensor:
    """KeOps alone, in one of its schemes."""
    from peers.keops import Vi, Vj

    x, y = Vi(X), Vj(Y)
    K = (x.sqdist(y) * (-0.5 / length**2)).exp()
    sums: Tensor = (K * ((y - x) * Vj(a[:, None]))).sum(1, backend=backend)
    return sums / length**2
