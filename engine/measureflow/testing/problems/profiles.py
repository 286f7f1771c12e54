"""What a feature promises of its parts: the profile's derivatives and the lifts."""

import torch
from torch import Tensor

from measureflow.core.feature import Feature, Lift
from measureflow.testing.families.features import scalar, sides
from measureflow.testing.problems.systems import normals
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise
from measureflow.testing.trial import Trial


def _arguments(phi: Feature) -> Tensor:
    """Numbers that the profile takes."""
    u = normals(200, seed=4)
    return u.clamp(-0.95, 0.95) if phi.form == "dot" else u.square() + 0.1


@promise("profile(u, k) is the k-th derivative of profile(u, 0) in u; of a radial feature u is the squared distance")
def profile_derivatives(phi: Feature, trial: Trial) -> Found:
    """The profile of each order is the derivative of the one before, by autograd."""
    scalar(phi)
    u = _arguments(phi)
    for order in range(phi.orders):
        leaf = u.clone().requires_grad_()
        (slope,) = torch.autograd.grad(phi.profile(leaf, order).sum(), leaf)
        yield close(f"profile of order {order + 1} is the derivative of order {order}", phi.profile(u.clone(), order + 1), slope)


@promise("state the degree of u -> kappa(u), or None: values are taken from gradients by Euler's identity")
def homogeneity(phi: Feature, trial: Trial) -> Found:
    """The profile is homogeneous of the degree it states."""
    if not phi.degree:
        raise InapplicableError("it states no degree")
    u = _arguments(phi)
    yield close("u kappa'(u) = degree kappa(u)", u * phi.profile(u.clone(), 1), phi.degree * phi.profile(u.clone(), 0))


@promise("lower `orders`, or clamp the argument: rounding takes products of unit vectors above 1 and distances to 0")
def bounded_at_the_ends(phi: Feature, trial: Trial) -> Found:
    """Where points coincide or rounding leaves the range, profiles up to `orders` are finite."""
    scalar(phi)
    ends = torch.tensor([1.0, 1 + 1e-12, -1.0, -1 - 1e-12] if phi.form == "dot" else [0.0, 1e-300], dtype=torch.float64)
    for order in range(phi.orders + 1):
        yield holds(
            f"profile of order {order} is not finite at {ends.tolist()}", bool(phi.profile(ends.clone(), order).isfinite().all())
        )


@promise("differentiate forward: push(points, v) is its derivative along v, pullback(points, w) the transpose applied to w")
def lifts(phi: Feature, trial: Trial) -> Found:
    """Each lift's pullback is the transposed derivative of forward by autograd, and its push the derivative."""
    for lift, (name, _, _, at, _) in zip(phi.lifts, sides(phi, trial.space, *trial.sizes), strict=True):
        yield from _lift(lift, name, at)


def _lift(lift: Lift, name: str, at: Tensor) -> Found:
    v, leaf = normals(*at.shape, seed=5), at.clone().requires_grad_()
    lifted = lift.forward(leaf)
    w = normals(*lifted.shape, seed=6)
    pulled = torch.autograd.grad((lifted * w).sum(), leaf)[0]
    yield close(f"pullback on the {name}", lift.pullback(at, w), pulled)
    yield close(f"push on the {name}", (w * lift.push(at, v)).sum(1), (pulled * v).sum(1))


PROMISES: tuple[Promise, ...] = (
    profile_derivatives,
    homogeneity,
    bounded_at_the_ends,
    lifts,
)
