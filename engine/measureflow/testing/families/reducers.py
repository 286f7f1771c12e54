"""What a reducer promises: sums against the whole matrix and torch's derivatives of it, in float64."""

from collections.abc import Iterator

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.reduction.reducer import Reducer
from measureflow.testing.problems.systems import dense, measure, normals
from measureflow.testing.promise import Found, InapplicableError, Promise, close, promise, same
from measureflow.testing.report import Gap
from measureflow.testing.trial import Trial

MANY, FEW = 4161, 67  # more than 4096, and no multiple of a usual tile


def asked(reducer: Reducer, trial: Trial) -> tuple[Feature, Tensor, list[Particles]]:
    """A feature, points, and two sources: of unequal signed masses, and of equal ones, which are stored once."""
    if reducer.kind == "keops" and not trial.keops:
        raise InapplicableError("asked for by keops = True: each formula compiles for seconds")
    phi, x, (n, m) = _feature(trial), trial.space, trial.sizes
    y = phi.parameter_space(x)
    sources = [measure(y, m, seed=5, signed=True), Particles.uniform(measure(y, m, seed=6).points, y.domain)]
    return phi, x.domain.sample(normals(n, x.dim)), sources


def _feature(trial: Trial) -> Feature:
    phi: Feature = trial.feature or trial.registry.get("feature", "relu")()
    return phi


@promise("sums over atoms are sum_j mass_j phi(at_i, y_j), signs included")
def values(reducer: Reducer, trial: Trial) -> Found:
    """Values are the sums of the whole matrix, asked for alone or with gradients."""
    phi, at, sources = asked(reducer, trial)
    for source in sources:
        wanted = dense(phi, at, source)
        yield close("value with gradient", reducer.field(phi, at, source, Need.BOTH).value, wanted)
        yield close("value alone", reducer.field(phi, at, source, Need.VALUE).value, wanted)


@promise("gradients are in the points at which the sum is taken, pulled back through the feature's lift")
def gradients(reducer: Reducer, trial: Trial) -> Found:
    """Gradients are those of the whole matrix by autograd, asked for alone or with values."""
    phi, at, sources = asked(reducer, trial)
    at.requires_grad_()
    for source in sources:
        (wanted,) = torch.autograd.grad(dense(phi, at, source).sum(), at)
        yield close("gradient with value", reducer.field(phi, at.detach(), source, Need.BOTH).grad, wanted)
        yield close("gradient alone", reducer.field(phi, at.detach(), source, Need.GRAD).grad, wanted)


@promise("vector_sum weighs each vector by its atom's mass")
def vector_sums(reducer: Reducer, trial: Trial) -> Found:
    """Sums of vectors are those of the whole matrix."""
    phi, at, sources = asked(reducer, trial)
    vectors = normals(sources[0].size, sources[0].dim, seed=8)
    for source in sources:
        wanted = phi.pair(at, source.points) @ (source.mass[:, None] * vectors)
        yield close("vector sum", reducer.vector_sum(phi, at, source, vectors), wanted)


@promise("directional differentiates phi in its second argument, along one vector for each atom")
def directional_sums(reducer: Reducer, trial: Trial) -> Found:
    """Directional sums, and their gradients where the feature is smooth enough, are torch's own derivatives."""
    phi, at, sources = asked(reducer, trial)
    for source in sources:
        yield from directional(reducer, phi, at.detach().requires_grad_(), source)


def directional(reducer: Reducer, phi: Feature, at: Tensor, source: Particles) -> Iterator[Gap]:
    """Directional sums of one feature over one source against torch; raises InapplicableError where torch sees a constant."""
    vectors, leaf = normals(source.size, source.dim, seed=8), source.points.clone().requires_grad_()
    (slope,) = torch.autograd.grad((phi.pair(at, leaf) @ source.mass).sum(), leaf, create_graph=True)
    if slope.grad_fn is None:
        raise InapplicableError("torch sees no dependence of the slope on the points: the feature is linear")
    rows = [torch.autograd.grad(phi.pair(at[i : i + 1], leaf).sum(), leaf, create_graph=True)[0] for i in range(at.shape[0])]
    value = torch.stack([(row * vectors).sum(1) @ source.mass for row in rows])
    need = Need.BOTH if phi.form == "autograd" or phi.orders > 1 else Need.VALUE
    field = reducer.directional(phi, at.detach(), source, vectors, need)
    yield close("directional sum", field.value, value.detach())
    if Need.GRAD in need:
        (grad,) = torch.autograd.grad(value.sum(), at)
        yield close("gradient of the directional sum", field.grad, grad)


@promise("return results in memory of their own, and keep nothing between calls that could change one")
def fresh_results(reducer: Reducer, trial: Trial) -> Found:
    """Arguments stay as they were, and a result that is overwritten does not change the next one."""
    phi, at, sources = asked(reducer, trial)
    for source in sources:
        before = {"at": at.clone(), **{name: part.clone() for name, part in source.tensors.items()}}
        first = reducer.field(phi, at, source, Need.BOTH)
        kept = {"value": first.value.clone(), "grad": first.grad.clone()}
        first.value.fill_(float("nan"))
        first.grad.fill_(float("nan"))
        yield same("the arguments changed", before, {"at": at, **source.tensors})
        again = reducer.field(phi, at, source, Need.BOTH)
        yield close("values asked for again", again.value, kept["value"])
        yield close("gradients asked for again", again.grad, kept["grad"])


@promise("look at shapes: a sum over one atom at one point is a sum")
def one_by_one(reducer: Reducer, trial: Trial) -> Found:
    """One point and one atom are enough."""
    phi, at, (source, _) = asked(reducer, trial)
    one, point = source.take(torch.tensor([0])), at[:1].clone().requires_grad_()
    value = dense(phi, point, one)
    (grad,) = torch.autograd.grad(value.sum(), point)
    yield close("value of one atom at one point", reducer.field(phi, at[:1], one, Need.VALUE).value, value)
    yield close("gradient of one atom at one point", reducer.field(phi, at[:1], one, Need.BOTH).grad, grad)


@promise("take gives the atoms at global rows, and total sums over the whole measure")
def atoms_and_totals(reducer: Reducer, trial: Trial) -> Found:
    """take and total are those of the whole measure."""
    _, _, (source, _) = asked(reducer, trial)
    index = torch.tensor([source.size - 1, 0, 0])
    yield close("atoms taken", reducer.take(source, index).points, source.points[index])
    yield close("masses taken", reducer.take(source, index).mass, source.mass[index])
    yield close("total of numbers", reducer.total(source, source.mass), source.mass.sum())
    yield close("total of vectors", reducer.total(source, source.points), source.points.sum(0))


@promise("the last tile is shorter than the others: sum over it too")
def sizes_across_tiles(reducer: Reducer, trial: Trial) -> Found:
    """Sums over more atoms or points than a tile holds, and not a multiple of one, are those of the whole matrix."""
    if trial.sizes != attrs.fields(Trial).sizes.default:
        raise InapplicableError("other sizes were asked for")
    phi, x = asked(reducer, trial)[0], trial.space
    for n, m in ((MANY, FEW), (FEW, MANY)):
        at, source = x.domain.sample(normals(n, x.dim)), measure(phi.parameter_space(x), m, seed=5, signed=True)
        yield from _sums(f"of {m} atoms at {n} points", reducer, phi, at, source)


@promise("keep nothing by address or by size: points are overwritten between calls")
def other_numbers_in_the_same_memory(reducer: Reducer, trial: Trial) -> Found:
    """Where points and atoms are overwritten, the sums are those of the new ones."""
    phi, at, sources = asked(reducer, trial)
    for source in sources:
        reducer.field(phi, at, source, Need.BOTH)
        at.copy_(trial.space.domain.sample(normals(*at.shape, seed=30)))
        source.points.copy_(source.domain.sample(normals(*source.points.shape, seed=31)))
        yield from _sums("after overwriting", reducer, phi, at, source)


def _sums(when: str, reducer: Reducer, phi: Feature, at: Tensor, source: Particles) -> Iterator[Gap]:
    leaf = at.clone().requires_grad_()
    value = dense(phi, leaf, source)
    (grad,) = torch.autograd.grad(value.sum(), leaf)
    field = reducer.field(phi, at, source, Need.BOTH)
    yield close(f"values {when}", field.value, value)
    yield close(f"gradients {when}", field.grad, grad)


PROMISES: tuple[Promise, ...] = (
    values,
    gradients,
    vector_sums,
    directional_sums,
    fresh_results,
    one_by_one,
    atoms_and_totals,
    sizes_across_tiles,
    other_numbers_in_the_same_memory,
)
