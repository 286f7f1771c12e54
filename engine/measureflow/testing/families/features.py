"""What a feature promises: its profile's derivatives, both sides' sums and gradients, its lifts."""

import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.reduction.chunked import Chunked
from measureflow.testing.families.reducers import directional
from measureflow.testing.problems.systems import cast, dense, measure, normals
from measureflow.testing.promise import DIFFERENCE, STEP, Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.trial import Trial

LOW = 1e-3  # allowed between float32 and float64: 6e-8 times conditions of up to 1e4


def sides(phi: Feature, x: Space, n: int, m: int) -> list[tuple[str, Feature, Space, Tensor, Particles]]:
    """Each side of a feature: its name, the feature, the space of its points, points, and atoms on the other."""
    y = phi.parameter_space(x)
    theta = measure(y, m, seed=2, signed=True)
    return [
        ("x side", phi, x, x.domain.sample(normals(n, x.dim)), theta),
        ("theta side", phi.T, y, theta.points, measure(x, n, seed=3, signed=True)),
    ]


def scalar(phi: Feature) -> None:
    if phi.form == "autograd":
        raise InapplicableError("a torch function has no profile")


@promise("pair is the truth, the profile and its lifts must give the same sums")
def values_are_sums(phi: Feature, trial: Trial) -> Found:
    """Both sides' sums by the engine are those of the whole matrix."""
    for name, side, _, at, other in sides(phi, trial.space, *trial.sizes):
        yield close(f"values on the {name}", Chunked(tile=64).field(side, at, other, Need.BOTH).value, dense(side, at, other))


@promise("look at the profile's first derivative and at the lifts' pullback")
def gradients_are_autograds(phi: Feature, trial: Trial) -> Found:
    """Both sides' gradients by the engine are those of torch."""
    for name, side, _, at, other in sides(phi, trial.space, *trial.sizes):
        leaf = at.clone().requires_grad_()
        (grad,) = torch.autograd.grad(dense(side, leaf, other).sum(), leaf)
        yield close(f"gradients on the {name}", Chunked(tile=64).field(side, at, other, Need.BOTH).grad, grad)


@promise("gradients are ambient: their tangent part must be the derivative along the domain")
def slope_along_the_domain(phi: Feature, trial: Trial) -> Found:
    """The tangent part of a gradient is the derivative of the value along geodesics, by central differences."""
    for name, side, space, at, other in sides(phi, trial.space, *trial.sizes):
        v = space.domain.tangent(at, normals(*at.shape, seed=5))
        ends = [dense(side, space.domain.exp(at, e * v), other).detach() for e in (STEP, -STEP)]
        near = (ends[0] - ends[1]) / (2 * STEP)
        grad = Chunked().field(side, at, other, Need.GRAD).grad
        off = ((grad * v).sum(1) - near).abs()
        if phi.form == "dot" and phi.orders < 2:  # a kink crossed by the difference is seen by a row, not by most
            off = off.sort().values[: -(len(off) // 10) or None]
        yield close(f"slopes on the {name}", off, 0, DIFFERENCE * max(1.0, float(near.abs().max())))


@promise("directional sums take the profile's derivatives up to `orders`: state no more than are right")
def directional_derivatives(phi: Feature, trial: Trial) -> Found:
    """Derivatives along vectors at the atoms, and their gradients, are those of torch."""
    (_, _, _, at, other), _ = sides(phi, trial.space, min(trial.sizes[0], 12), min(trial.sizes[1], 6))
    yield from directional(Chunked(), phi, at.requires_grad_(), other)


@promise("look at shapes: a sum over one atom at one point is a sum")
def one_by_one(phi: Feature, trial: Trial) -> Found:
    """One point and one atom are enough, on both sides."""
    for name, side, _, at, other in sides(phi, trial.space, 1, 1):
        field = Chunked().field(side, at, other, Need.BOTH)
        yield close(f"value on the {name}", field.value, dense(side, at, other))
        yield holds(f"the gradient on the {name} has another shape", field.grad.shape == at.shape)


@promise("a profile may overwrite its argument and nothing else; pair nothing at all")
def pure(phi: Feature, trial: Trial) -> Found:
    """pair and the sums leave points as they were, and give the same when asked again."""
    for name, side, _, at, other in sides(phi, trial.space, *trial.sizes):
        before = {"at": at.clone(), **{part: tensor.clone() for part, tensor in other.tensors.items()}}
        first = side.pair(at, other.points).clone()
        Chunked().field(side, at, other, Need.BOTH)
        yield same(f"points on the {name} changed", before, {"at": at, **other.tensors})
        yield close(f"the matrix asked for again on the {name}", side.pair(at, other.points), first, 0.0)


@promise("make constants with the dtype of the points, or use plain numbers")
def float32(phi: Feature, trial: Trial) -> Found:
    """In float32 it stays float32, and near float64."""
    for name, side, _, at, other in sides(phi, trial.space, *trial.sizes):
        low = Chunked().field(side, at.float(), cast(other, torch.float32), Need.VALUE).value
        yield holds(f"values on the {name} become {low.dtype}", low.dtype == torch.float32)
        yield close(f"values in float32 on the {name}", low.double(), dense(side, at, other), LOW)


@promise("write the profile with methods that tensors and LazyTensors share: sqrt, clamp, acos, arithmetic with floats")
def keops_agrees(phi: Feature, trial: Trial) -> Found:
    """By KeOps the sums are the same, so that the profile is valid on its LazyTensors."""
    scalar(phi)
    if not trial.keops:
        raise InapplicableError("asked for by keops = True: each formula compiles for seconds")
    keops = trial.registry.get("reducer", "keops")()
    for name, side, _, at, other in sides(phi, trial.space, *trial.sizes):
        field, wanted = (reducer.field(side, at, other, Need.BOTH) for reducer in (keops, Chunked()))
        yield close(f"values on the {name}", field.value, wanted.value)
        yield close(f"gradients on the {name}", field.grad, wanted.grad)


PROMISES: tuple[Promise, ...] = (
    values_are_sums,
    gradients_are_autograds,
    slope_along_the_domain,
    directional_derivatives,
    one_by_one,
    pure,
    float32,
    keops_agrees,
)
