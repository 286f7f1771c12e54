"""Contract checks: what every component promises, tried on small random systems in float64.

A plugin's own test suite calls `check_domain`, `check_feature`, `check_flow`, `check_coupling`, `check_reducer` on its
component; each raises AssertionError that says which promise was broken and by how much.
"""

import attrs
import torch
from torch import Tensor

from measureflow.chunked import Chunked
from measureflow.coupling import Coupling, Potential
from measureflow.domain import Domain, Space
from measureflow.feature import Feature
from measureflow.flow import Flow, marked
from measureflow.measure import Field, Need, Particles, System
from measureflow.noise import Keyed
from measureflow.reduce import Reducer
from measureflow.scheme import Game

TOLERANCE = 1e-9  # rounding of float64 sums of a few hundred terms of size one, with room for square roots
STEP = 1e-5  # of central differences: truncation and rounding both near 1e-10


def normals(*shape: int, seed: int = 0) -> Tensor:
    """Standard normals in float64, the same for the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def measure(space: Space, size: int, seed: int = 0, signed: bool = False) -> Particles:
    """A random measure of unequal masses on a space, half of them negative where `signed`."""
    points = space.domain.sample(normals(size, space.dim, seed=seed))
    sign = torch.ones(size, dtype=torch.float64)
    if signed:
        sign[: size // 2] = -1
    return Particles(points, sign, 0.3 * normals(size, seed=seed + 1) - torch.log(torch.tensor(float(size))), space.domain)


def check_domain(domain: Domain, d: int = 4, size: int = 50) -> None:
    """Projection, tangency, exp and log, transport, volume and the base law's score."""
    p, v = domain.sample(normals(size, d)), normals(size, d, seed=1)
    t = domain.tangent(p, v)
    _close("sample stays on the domain", domain.distance_to(p), 0)
    _close("project fixes the domain", domain.project(p), p)
    _close("tangent is a projection", domain.tangent(p, t), t)
    _close("retract stays on the domain", domain.distance_to(domain.retract(p, t)), 0)
    _close("exp stays on the domain", domain.distance_to(domain.exp(p, t)), 0)
    _close("exp of zero is the identity", domain.exp(p, 0 * t), p)
    _close("log undoes exp", domain.exp(p, domain.log(p, domain.exp(p, 0.5 * t))), domain.exp(p, 0.5 * t))
    moved = domain.transport(p, t, 0.3 * t)
    _close("transport is an isometry", moved.norm(dim=1), t.norm(dim=1))
    _close("transport ends tangent", domain.tangent(domain.exp(p, 0.3 * t), moved), moved)
    retraction, exact = domain.retract(p, STEP * t), domain.exp(p, STEP * t)
    _close("retract agrees with exp to first order", (retraction - exact) / STEP, 0, 1e-4)
    slope = (domain.log_density(domain.exp(p, STEP * t)) - domain.log_density(domain.exp(p, -STEP * t))) / (2 * STEP)
    _close("score is the gradient of log_density", (domain.score(p) * t).sum(1), slope, 1e-6)
    assert domain.flat == bool((domain.score(p) == 0).all()), "flat must say whether the score vanishes"
    _close("exp has unit volume at zero", domain.log_volume(p, 0 * t), 0)
    assert 0 < domain.dimension(d) <= d, "dimension must be within (0, d]"


def check_feature(phi: Feature, x: Space, size: int = 40) -> None:
    """Profile derivatives, homogeneity, and both sides' gradients through the lifts, against autograd."""
    y = phi.parameter_space(x)
    at, source = x.domain.sample(normals(size, x.dim)), measure(y, size // 2, seed=2, signed=True)
    if phi.form != "autograd":
        _check_profile(phi)
    for side, points, other in ((phi, at, source), (phi.T, source.points, measure(x, size, seed=3, signed=True))):
        leaf = points.clone().requires_grad_()
        value = dense(side, leaf, other)
        (grad,) = torch.autograd.grad(value.sum(), leaf)
        field = Chunked(tile=64).field(side, points, other, Need.BOTH)
        _close("values are the sums of the profile", field.value, value.detach())
        _close("gradients are the sums' gradients", field.grad, grad)


def _check_profile(phi: Feature) -> None:
    u = normals(200, seed=4).clamp(-0.95, 0.95) if phi.form == "dot" else normals(200, seed=4).square() + 0.1
    for order in range(phi.orders):
        leaf = u.clone().requires_grad_()
        (slope,) = torch.autograd.grad(phi.profile(leaf, order).sum(), leaf)
        _close(f"profile of order {order + 1} is the derivative of order {order}", phi.profile(u.clone(), order + 1), slope)
    if phi.degree:
        _close("the profile is homogeneous of its degree", u * phi.profile(u.clone(), 1), phi.degree * phi.profile(u.clone(), 0))


def dense(phi: Feature, at: Tensor, source: Particles) -> Tensor:
    """sum_j mass_j phi(at_i, y_j) by the whole matrix, differentiable in `at`: the plainest truth there is."""
    return phi.pair(at, source.points) @ source.mass


def check_reducer(reducer: Reducer, phi: Feature, x: Space, n: int, m: int, tolerance: float = TOLERANCE) -> None:
    """Values and gradients, asked for together and apart, against the whole matrix and autograd in float64."""
    y = phi.parameter_space(x)
    at = x.domain.sample(normals(n, x.dim)).requires_grad_()
    for source in (measure(y, m, seed=5, signed=True), Particles.uniform(measure(y, m, seed=6).points, y.domain)):
        value = dense(phi, at, source)
        (grad,) = torch.autograd.grad(value.sum(), at)
        both = reducer.field(phi, at.detach(), source, Need.BOTH)
        _close("value with gradient", both.value, value.detach(), tolerance)
        _close("gradient with value", both.grad, grad, tolerance)
        _close("value alone", reducer.field(phi, at.detach(), source, Need.VALUE).value, value.detach(), tolerance)
        _close("gradient alone", reducer.field(phi, at.detach(), source, Need.GRAD).grad, grad, tolerance)
        vectors = normals(m, y.dim, seed=8)
        _close(
            "vector sum",
            reducer.vector_sum(phi, at.detach(), source, vectors),
            phi.pair(at.detach(), source.points) @ (source.mass[:, None] * vectors),
            tolerance,
        )
        _check_directional(reducer, phi, at, source, vectors, tolerance)


def _check_directional(reducer: Reducer, phi: Feature, at: Tensor, source: Particles, vectors: Tensor, tolerance: float) -> None:
    """Directional sums, and their gradients where the feature is smooth enough, against torch's own derivatives."""
    leaf = source.points.clone().requires_grad_()
    (slope,) = torch.autograd.grad((phi.pair(at, leaf) @ source.mass).sum(), leaf, create_graph=True)
    if slope.grad_fn is None:
        return
    rows = [torch.autograd.grad(phi.pair(at[i : i + 1], leaf).sum(), leaf, create_graph=True)[0] for i in range(at.shape[0])]
    value = torch.stack([(row * vectors).sum(1) @ source.mass for row in rows])
    need = Need.BOTH if phi.form == "autograd" or phi.orders > 1 else Need.VALUE
    field = reducer.directional(phi, at.detach(), source, vectors, need)
    _close("directional sum", field.value, value.detach(), tolerance)
    if Need.GRAD in need:
        (grad,) = torch.autograd.grad(value.sum(), at)
        _close("gradient of the directional sum", field.grad, grad, tolerance)


@attrs.frozen(eq=False)
class Quadratic(Potential):
    """V(x) = <x, A x> / 2 + <b, x>: a potential to try flows on."""

    A: Tensor
    b: Tensor

    def __call__(self, at: Tensor, need: Need) -> Field:
        inner = at @ self.A
        value = 0.5 * (inner * at).sum(1) + at @ self.b
        return Field(value if Need.VALUE in need else None, inner + self.b if Need.GRAD in need else None)


@attrs.frozen(eq=False)
class _Alone(Coupling):
    """Gives one measure a fixed potential."""

    potential: Potential
    kind = "alone"
    moves = ("mu",)
    reads = ()

    def spaces(self, x: Space) -> dict[str, Space]:
        return {"mu": x}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        return self.potential

    def value(self, system: System, reducer: Reducer) -> Tensor:
        mu = system["mu"]
        return (mu.mass * self.potential(mu.points, Need.VALUE).value).sum()

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return self.potential


def stepped(flow: Flow, mu: Particles, h: float, potential: Potential | None = None, data: Particles | None = None) -> Particles:
    """One step of `flow` on `mu` as the engine takes it, with its marks started and the given data to read."""
    potential = potential or quadratic(mu.dim)
    mu = mu if mu.marks else marked(mu, (flow,), Keyed(0))
    system = System({"mu": mu, "data": measure(Space(mu.domain, mu.dim), 7, seed=9) if data is None else data})
    return Game({"mu": (flow,)}, _Alone(potential), Chunked(), Keyed(0)).walk("mu", system, h)


def quadratic(d: int) -> Quadratic:
    """A fixed quadratic potential on R^d."""
    root = normals(d, d, seed=11)
    return Quadratic(root @ root.T / d, normals(d, seed=12))


def check_flow(flow: Flow, space: Space, size: int = 24, signed: bool = True) -> None:
    """Purity, same seed same result, domain kept, signs and size kept, zero step, and blocks where `local`.

    Pass `signed = False` for a flow that is defined for positive measures only.
    """
    assert all(isinstance(getattr(flow, name, None), bool) for name in ("local", "pointwise")), "say of the class: local, pointwise"
    mu = marked(measure(space, size, signed=signed), (flow,), Keyed(0))
    kept = {"points": mu.points.clone(), "log_mass": mu.log_mass.clone(), **{k: v.clone() for k, v in mu.marks.items()}}
    once, again = stepped(flow, mu, 0.01), stepped(flow, mu, 0.01)
    now = {"points": mu.points, "log_mass": mu.log_mass, **mu.marks}
    assert all(torch.equal(kept[name], now[name]) for name in kept), "step must change nothing in place"
    assert torch.equal(once.points, again.points), "the same seed must give the same step"
    assert torch.equal(once.log_mass, again.log_mass), "the same seed must give the same masses"
    assert once.marks.keys() == mu.marks.keys(), "marks must be kept"
    _close("atoms stay on the domain", space.domain.distance_to(once.points), 0)
    assert once.size == mu.size, "the number of atoms must not change"
    assert torch.equal(once.sign, mu.sign), "signs must not change"
    still = stepped(flow, mu, 0.0)
    _close("a zero step is the identity", still.points, mu.points)
    _close("a zero step keeps masses", still.log_mass, mu.log_mass)
    if flow.local:
        blocks = [stepped(flow, mu.block(0, 10), 0.01), stepped(flow, mu.block(10, size), 0.01)]
        _close("a local flow moves blocks as it moves the whole", torch.cat([b.points for b in blocks]), once.points)
        _close("a local flow weighs blocks as it weighs the whole", torch.cat([b.log_mass for b in blocks]), once.log_mass)


def check_coupling(coupling: Coupling, x: Space, size: int = 12) -> None:
    """Each potential is, up to one sign per measure, the first variation of `value`, by central differences."""
    where = coupling.spaces(x)
    names = [*coupling.moves, *coupling.reads]
    system = System({name: measure(where.get(name, x), size + 3 * i, 20 * i) for i, name in enumerate(names)})
    for name in coupling.moves:
        mu = system[name]
        field = coupling.bind(name, system, Chunked())(mu.points, Need.BOTH)
        v, eta = mu.domain.tangent(mu.points, normals(mu.size, mu.dim, seed=7)), normals(mu.size, seed=8)
        along = (mu.mass * (field.grad * v).sum(1)).sum(), (mu.mass * field.value * eta).sum()
        ends = [
            (mu.replace(points=mu.domain.exp(mu.points, e * v)), mu.replace(log_mass=mu.log_mass + e * eta)) for e in (STEP, -STEP)
        ]
        values = [[coupling.value(system.replace({name: end}), Chunked()) for end in pair] for pair in ends]
        slopes = [(up - down) / (2 * STEP) for up, down in zip(*values, strict=True)]
        sign = 1.0 if float(along[0] * slopes[0]) > 0 else -1.0
        for what, predicted, slope in zip(("gradient", "value"), along, slopes, strict=True):
            _close(f"{what} of {name}'s potential is the first variation", sign * predicted, slope, 1e-6)


def _close(what: str, got: Tensor, wanted: Tensor | float, tolerance: float = TOLERANCE) -> None:
    wanted = torch.as_tensor(wanted, dtype=got.dtype).expand_as(got)
    scale = max(1.0, float(wanted.abs().max()) if wanted.numel() else 1.0)
    error = float((got - wanted).abs().max()) if got.numel() else 0.0
    if not error <= tolerance * scale:
        raise AssertionError(f"{what}: off by {error:.3g} where {tolerance * scale:.3g} is allowed")
