"""What a domain promises, on random points of it."""

import torch
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.testing.problems.systems import normals
from measureflow.testing.promise import DIFFERENCE, STEP, Found, InapplicableError, Promise, close, equal, holds, promise
from measureflow.testing.trial import Trial

SIZE = 50
FIRST_ORDER = 1e-4  # allowed of what is O(STEP) at vectors of length up to 5
SHORT = 0.7  # length of the vectors at which volumes are tried: within any injectivity radius of order one


def _tried(domain: Domain, d: int) -> tuple[Tensor, Tensor]:
    """Random points, and tangent vectors there."""
    p = domain.sample(normals(SIZE, d))
    return p, domain.tangent(p, normals(SIZE, d, seed=1))


@promise("sample must end with the domain's own projection, and project must be the identity on the domain")
def projection(domain: Domain, trial: Trial) -> Found:
    """Samples and projected points lie on the domain, and project fixes it."""
    p, _ = _tried(domain, trial.space.dim)
    yield close("sample stays on the domain", domain.distance_to(p), 0)
    yield close("project fixes the domain", domain.project(p), p)
    off = domain.project(p + 0.3 * normals(*p.shape, seed=2))
    yield close("project ends on the domain", domain.distance_to(off), 0)


@promise("project the vectors orthogonally on the tangent space at each point")
def tangency(domain: Domain, trial: Trial) -> Found:
    """tangent is the orthogonal projection on the directions in which geodesics leave."""
    p, t = _tried(domain, trial.space.dim)
    v, w = normals(SIZE, trial.space.dim, seed=1), normals(SIZE, trial.space.dim, seed=3)
    yield close("tangent is a projection", domain.tangent(p, t), t)
    yield close("tangent is orthogonal", (domain.tangent(p, w) * v).sum(1), (w * t).sum(1))
    velocity = (domain.exp(p, STEP * t) - domain.exp(p, -STEP * t)) / (2 * STEP)
    yield close("geodesics leave along tangent vectors", velocity, t, DIFFERENCE)


@promise("exp must end on the domain, and log must be its inverse for short vectors")
def geodesics(domain: Domain, trial: Trial) -> Found:
    """exp stays on the domain, exp(0) is the identity, log undoes exp, and retract agrees with exp to first order."""
    p, t = _tried(domain, trial.space.dim)
    yield close("retract stays on the domain", domain.distance_to(domain.retract(p, t)), 0)
    yield close("exp stays on the domain", domain.distance_to(domain.exp(p, t)), 0)
    yield close("exp of zero is the identity", domain.exp(p, 0 * t), p)
    yield close("log undoes exp", domain.exp(p, domain.log(p, domain.exp(p, 0.5 * t))), domain.exp(p, 0.5 * t))
    retraction, exact = domain.retract(p, STEP * t), domain.exp(p, STEP * t)
    yield close("retract agrees with exp to first order", (retraction - exact) / STEP, 0, FIRST_ORDER)


@promise("carry vectors by parallel transport along the geodesic; its own velocity is carried into its own velocity")
def transport(domain: Domain, trial: Trial) -> Found:
    """transport is an isometry, ends tangent, and carries a geodesic's velocity along."""
    p, t = _tried(domain, trial.space.dim)
    moved, along = domain.transport(p, t, 0.3 * t), 0.3 * t / t.norm(dim=1, keepdim=True).clamp(min=1)
    yield close("transport is an isometry", moved.norm(dim=1), t.norm(dim=1))
    yield close("transport ends tangent", domain.tangent(domain.exp(p, 0.3 * t), moved), moved)
    back = domain.log(domain.exp(p, along), p)
    yield close("the velocity is carried along", domain.transport(p, along, along), -back)


@promise("log_volume is log |det d exp_p(v)| in orthonormal bases of the two tangent spaces")
def volume(domain: Domain, trial: Trial) -> Found:
    """log_volume is the logarithm of exp's Jacobian determinant, by central differences."""
    p, t = _tried(domain, trial.space.dim)
    v = SHORT * t / t.norm(dim=1, keepdim=True).clamp(min=1)
    yield close("exp has unit volume at zero", domain.log_volume(p, 0 * t), 0)
    wanted = torch.stack([_log_jacobian(domain, p[i : i + 1], v[i : i + 1]) for i in range(5)])
    yield close("log_volume is the Jacobian", domain.log_volume(p[:5], v[:5]), wanted, DIFFERENCE)


def _log_jacobian(domain: Domain, p: Tensor, v: Tensor) -> Tensor:
    """log |det d exp_p(v)| on the tangent space at p (1, d)."""
    d = p.shape[1]
    tangent = domain.tangent(p.expand(d, d), torch.eye(d, dtype=p.dtype))
    basis = torch.linalg.svd(tangent).Vh[: domain.dimension(d)]
    at, along = p.expand(len(basis), d), v.expand(len(basis), d)
    end = domain.exp(p, v)
    ends = [domain.log(end.expand(len(basis), d), domain.exp(at, along + e * basis)) for e in (STEP, -STEP)]
    J = (ends[0] - ends[1]) / (2 * STEP)  # differences taken in the tangent space, so that a seam of the chart does not matter
    log_determinant: Tensor = torch.linalg.slogdet(J @ J.T).logabsdet
    return 0.5 * log_determinant


@promise("score is the tangent gradient of log_density; flat is True where it vanishes everywhere")
def base_law(domain: Domain, trial: Trial) -> Found:
    """score is the gradient of log_density, and flat says whether it vanishes."""
    p, t = _tried(domain, trial.space.dim)
    slope = (domain.log_density(domain.exp(p, STEP * t)) - domain.log_density(domain.exp(p, -STEP * t))) / (2 * STEP)
    yield close("score is the gradient of log_density", (domain.score(p) * t).sum(1), slope, DIFFERENCE)
    yield close("score is tangent", domain.tangent(p, domain.score(p)), domain.score(p))
    yield holds("flat must say whether the score vanishes", domain.flat == bool((domain.score(p) == 0).all()))


@promise("dimension(d) is an integer within (0, d]")
def dimension(domain: Domain, trial: Trial) -> Found:
    """The dimension is that of the tangent spaces."""
    p, d = domain.sample(normals(1, trial.space.dim)), trial.space.dim
    rank = int(torch.linalg.matrix_rank(domain.tangent(p.expand(d, d), torch.eye(d, dtype=p.dtype))))
    yield holds(f"dimension({d}) is {domain.dimension(d)}, tangent vectors fill {rank}", domain.dimension(d) == rank)


@promise("write no result into an argument: return new tensors")
def pure(domain: Domain, trial: Trial) -> Found:
    """Every method leaves its arguments as they were, bit for bit, and keeps their dtype."""
    p, t = _tried(domain, trial.space.dim)
    for name, given in _calls(domain, p, t).items():
        before = [tensor.clone() for tensor in given]
        result = getattr(domain, name)(*given)
        yield holds(f"{name} changes its arguments", all(map(equal, before, given)))
        low = getattr(domain, name)(*(tensor.float() for tensor in given))
        yield holds(f"{name} turns {torch.float32} into {low.dtype}", low.dtype == torch.float32 and low.shape == result.shape)


def _calls(domain: Domain, p: Tensor, t: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Arguments for each method."""
    one = dict.fromkeys(("project", "sample", "log_density", "score", "distance_to"), (p,))
    two = dict.fromkeys(("tangent", "exp", "log_volume"), (p, t))
    return {**one, **two, "log": (p, domain.exp(p, 0.5 * t)), "transport": (p, t, 0.3 * t)}


@promise("let every row depend on its own row only")
def one_point(domain: Domain, trial: Trial) -> Found:
    """A point by itself is treated as it is among others."""
    p, t = _tried(domain, trial.space.dim)
    for name, given in _calls(domain, p, t).items():
        whole, alone = getattr(domain, name)(*given), getattr(domain, name)(*(tensor[:1] for tensor in given))
        yield close(f"{name} of one point", alone, whole[:1])


@promise("give a sphere and an interval, say, different kinds")
def least_dimension(domain: Domain, trial: Trial) -> Found:
    """In the least ambient dimension it has, no number is NaN."""
    d = trial.space.dim
    if d > 1 and domain.dimension(d - 1) > 0:
        raise InapplicableError(f"d = {d} is not the least")
    p, t = _tried(domain, d)
    for name, given in _calls(domain, p, t).items():
        yield holds(f"{name} gives NaN in d = {d}", not bool(getattr(domain, name)(*given).isnan().any()))


PROMISES: tuple[Promise, ...] = (
    projection,
    tangency,
    geodesics,
    transport,
    volume,
    base_law,
    dimension,
    pure,
    one_point,
    least_dimension,
)
