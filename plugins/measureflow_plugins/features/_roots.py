"""Distances and their inverses that stay finite where x = y, for profiles with a kink there."""

from torch import Tensor

from measureflow.core.feature import Symbolic


def root(u: Symbolic) -> Symbolic:
    """sqrt(u) for u >= 0; overwrites a tensor that needs no gradient, else torch's derivative at 0 is 0."""
    if isinstance(u, Tensor) and not u.requires_grad:
        return u.sqrt_()
    step = u.sign()
    return (u + (1.0 - step)).sqrt() * step


def inverse(r: Symbolic) -> Symbolic:
    """1 / r for r > 0, and 0 at 0."""
    step = r.sign()
    return step / (r + (1.0 - step))
