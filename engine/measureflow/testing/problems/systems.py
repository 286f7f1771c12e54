"""Small random systems in float64: what components are tried on."""

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics.coupling import Coupling, Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.simulate import apply_flows
from measureflow.reduction.reducer import Reducer


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


def dense(phi: Feature, at: Tensor, source: Particles) -> Tensor:
    """sum_j mass_j phi(at_i, y_j) by the whole matrix, differentiable in `at`: the plainest truth there is."""
    return phi.pair(at, source.points) @ source.mass


@attrs.frozen(eq=False)
class Quadratic(Potential):
    """V(x) = <x, A x> / 2 + <b, x> + c: a potential to try flows on."""

    A: Tensor
    b: Tensor
    c: float = 0.0

    def __call__(self, at: Tensor, need: Need) -> Field:
        inner = at @ self.A
        value = 0.5 * (inner * at).sum(1) + at @ self.b + self.c
        return Field(value if Need.VALUE in need else None, inner + self.b if Need.GRAD in need else None)

    def reads(self, mu: Particles) -> bool:
        return False


def quadratic(d: int) -> Quadratic:
    """A fixed quadratic potential on R^d."""
    root = normals(d, d, seed=11)
    return Quadratic(root @ root.T / d, normals(d, seed=12))


@attrs.frozen(eq=False)
class Alone(Coupling):
    """Gives one measure a fixed potential."""

    potential: Potential
    kind = "alone"
    moves = ("mu",)
    reads = ()

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {"mu": x}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        return self.potential

    def value(self, system: System, reducer: Reducer) -> Tensor:
        mu = system["mu"]
        return (mu.mass * self.potential(mu.points, Need.VALUE).value).sum()

    def energy(self, system: System, reducer: Reducer) -> Potential:
        return self.potential


def stepped(
    flow: Flow,
    mu: Particles,
    h: float,
    potential: Potential | None = None,
    data: Particles | None = None,
    noise: Noise = Keyed(0),  # noqa: B008 - frozen
) -> Particles:
    """One step of `flow` on `mu` as the engine takes it, with its marks started and the given data to read."""
    potential = potential or quadratic(mu.dim)
    mu = mu if mu.marks else marked(mu, (flow,), Keyed(0))
    system = System({"mu": mu, "data": measure(Space(mu.domain, mu.dim), 7, seed=9) if data is None else data})
    return apply_flows(Dynamics(Alone(potential), {"mu": (flow,)}, 1.0, noise=noise), "mu", system, h)


def copied(system: System) -> dict[str, Tensor]:
    """Every tensor of a system by name, in memory of its own."""
    return {f"{name}.{part}": tensor.clone() for name, mu in system.measures.items() for part, tensor in mu.tensors.items()}


def twin(system: System) -> System:
    """The same system in memory of its own, equal masses still stored once."""
    return System({name: _twin(mu) for name, mu in system.measures.items()}, system.step, system.time)


def _twin(mu: Particles) -> Particles:
    once = {name: t[:1].clone().expand(t.shape) if t.stride(0) == 0 else t.clone() for name, t in mu.tensors.items()}
    return Particles.of(once, mu.domain, mu.offset, mu.whole)


def reordered(mu: Particles, order: Tensor) -> Particles:
    """The same measure with its atoms in another order."""
    return mu.take(order)


def split(mu: Particles) -> Particles:
    """The same measure with each atom of its first half as a third and two thirds of it."""
    halved = -(-mu.size // 2)
    more = mu.take(torch.cat([torch.arange(mu.size), torch.arange(halved)]))
    share = torch.ones(more.size, dtype=mu.log_mass.dtype)
    share[:halved], share[mu.size :] = 1 / 3, 2 / 3
    return more.replace(log_mass=more.log_mass + share.log())


def cast(mu: Particles, dtype: torch.dtype = torch.float64, device: str = "cpu") -> Particles:
    """The same measure in another dtype or on another device; marks that hold no real numbers keep their dtype."""
    marks = {name: mark.to(device, dtype if mark.is_floating_point() else mark.dtype) for name, mark in mu.marks.items()}
    points, sign, log_mass = (part.to(device, dtype) for part in (mu.points, mu.sign, mu.log_mass))
    return Particles(points, sign, log_mass, mu.domain, marks, mu.offset, mu.whole)
