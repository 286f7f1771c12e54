"""Quadrature of the uniform law on the circle and on the two-sphere."""

import numpy as np
import torch
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.core.measure import Particles
from measureflow_plugins.domains.sphere import Sphere


def has_quadrature(domain: Domain, d: int) -> bool:
    """Whether `quadrature` knows a rule: on S^1 and S^2."""
    return isinstance(domain, Sphere) and d in (2, 3)


def quadrature(domain: Domain, d: int, nodes: int, like: Tensor) -> Particles:
    """The uniform law as atoms of total mass 1, with about `nodes` of them on a great circle; dtype and device of `like`.

    S^1: `nodes` equidistant points, exact for harmonics below that degree. S^2: nodes/2 Gauss-Legendre heights, each with
    `nodes` equidistant points, exact for harmonics of degree below `nodes`; polynomials converge at once, energies with
    kinks like nodes^-2.
    """
    angle = (np.arange(nodes) + 0.5) * (2 * np.pi / nodes)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    if d == 2:
        points, share = circle, np.full(nodes, 1 / nodes)
    else:
        height, part = np.polynomial.legendre.leggauss(nodes // 2)
        flat = np.sqrt(1 - height**2)[:, None, None] * circle
        points = np.concatenate([flat, np.broadcast_to(height[:, None, None], (*flat.shape[:2], 1))], 2).reshape(-1, 3)
        share = np.repeat(part / part.sum() / nodes, nodes)
    tau = Particles.uniform(torch.as_tensor(points, dtype=like.dtype, device=like.device), domain)
    return tau.replace(log_mass=torch.as_tensor(np.log(share), dtype=like.dtype, device=like.device))
