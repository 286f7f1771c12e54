"""Components that are right, or wrong in the one way that their field `fault` names."""

import functools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Domain, Space
from measureflow.core.feature import DotProduct, Feature, Identity, Lift, Radial, exponential, heaviside, positive, scaled
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow, WrappedFlow
from measureflow.dynamics.scheme import Scheme, WrappedScheme
from measureflow.dynamics.simulate import apply_flows
from measureflow.observe.metric import Metric, View
from measureflow.observe.observer import Observer, See, Stage
from measureflow.observe.source import Init, Setting, Source, World
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Reducer
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian

TILE = 64  # atoms
CACHE: dict[tuple[object, ...], Field] = {}  # as CELL, what a component must not have
CELL: list[int] = [0]  # what a component must not have: a memory between calls


def counted() -> int:
    """How often this was asked before."""
    CELL[0] += 1
    return CELL[0]


@final
@attrs.frozen
class Drift(Flow):
    """dp = -r s grad V dt by retraction; the mark "age" counts time."""

    kind: ClassVar[str] = "drift"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    fault: str = ""
    rate: Schedule = scheduled(1.0)

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {"age": torch.zeros_like(mu.log_mass)}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h if self.fault == "rate" else h * self.rate(context.step)
        if h == 0 and self.fault != "zero step":
            return mu
        V = potential(mu.points, Need.BOTH if self.fault == "asks too much" else Need.GRAD)
        move = self._move(V.grad * (-h * mu.sign)[:, None], mu, h, context)
        if self.fault == "projection":
            return self._told(mu, mu.points + move, h)
        return self._told(mu, mu.domain.retract(mu.points, mu.domain.tangent(mu.points, move)), h)

    def pace(self, step: int) -> float:
        return None if self.fault == "pace" else self.rate(step)  # type: ignore[return-value]

    def _move(self, move: Tensor, mu: Particles, h: float, context: Context) -> Tensor:
        match self.fault:
            case "sign":
                return -move
            case "hidden state":
                return move * (1 + counted())
            case "global generator":
                return move + h * torch.randn_like(move)
            case "zero step":
                return move + 1e-3
            case "one name":
                return move + h * (context.noise.normal(mu) + context.noise.normal(mu))
            case "not local":
                return move - move.mean(0)
            case "rows":
                return move * torch.arange(mu.rows.start + 1, mu.rows.stop + 1, device=move.device).to(move)[:, None]
            case "undeclared":
                return move + 0 * context.system["data"].points[:1]
            case "host":
                return move if float(move.abs().max()) < 1 else move / 2
            case "one atom":
                return move / (1 + 0 * move.std(0))
            case "order":
                return move * (1 + h**0.5)
        return move

    def _told(self, mu: Particles, points: Tensor, h: float) -> Particles:
        age = mu.marks["age"] + h
        match self.fault:
            case "in place":
                mu.marks["age"].add_(h)
            case "drops marks":
                return mu.replace(points=points, marks={})
            case "size":
                return mu.block(0, max(mu.size - 1, 1))
            case "masses":
                return mu.replace(points=points, marks={"age": age}, log_mass=mu.log_mass - 0.1 * h)
            case "dtype":
                parts = [part.double() for part in (points, mu.sign, mu.log_mass)]
                return Particles(*parts, mu.domain, {"age": age}, mu.offset, mu.whole)
        return mu.replace(points=points, marks={"age": age})


@final
@attrs.frozen
class Once(WrappedFlow):
    """One step of another flow."""

    kind: ClassVar[str] = "once"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    fault: str = ""
    flow: Flow = attrs.field(factory=Drift)

    @property
    def inner(self) -> Flow:
        return self.flow

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.fault == "reads" else super().reads

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {} if self.fault == "marks" else super().marks(mu, noise)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return self.flow.step(mu, potential, h, context)


@final
@attrs.frozen
class Walk(Flow):
    """dp = -r (s grad V - T grad log tau) dt + sqrt(2 T r) dW."""

    kind: ClassVar[str] = "walk"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    fault: str = ""
    rate: Schedule = scheduled(1.0)
    temperature: Schedule = scheduled(1.0)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        size, T = self._size(h, context.step), self.temperature(context.step)
        if size == 0:
            return mu
        sign = mu.sign.abs() if self.fault == "forgets signs" else mu.sign
        move = potential(mu.points, Need.GRAD).grad * (-size * sign)[:, None]
        if self.fault != "no base":
            move = move + mu.domain.score(mu.points) * (T * size)
        move = move + context.noise.normal(mu) * self._noise(size, h, T)
        return mu.replace(points=mu.domain.retract(mu.points, mu.domain.tangent(mu.points, move)))

    def _size(self, h: float, step: int) -> float:
        match self.fault:
            case "rate of the next step":
                return h * self.rate(step + 1)
            case "rate squared":
                return h * self.rate(step) ** 2
        return h * self.rate(step)

    def _noise(self, size: float, h: float, T: float) -> float:
        match self.fault:
            case "noise as h":
                return (2 * T) ** 0.5 * size
            case "half the variance":
                return (T * size) ** 0.5
            case "noise without the rate":
                return (2 * T * h) ** 0.5
        return (2 * T * size) ** 0.5


@final
@attrs.frozen(eq=False)
class _Turned(Potential):
    """A potential with one fault."""

    inner: Potential
    fault: str

    def __call__(self, at: Tensor, need: Need) -> Field:
        field = self.inner(at, need)
        if self.fault == "sign of some":
            sign = torch.where(torch.arange(at.shape[0], device=at.device) % 2 == 0, 1.0, -1.0).to(at)
            value, grad = field.maybe_value, field.maybe_grad
            return Field(None if value is None else value * sign, None if grad is None else grad * sign[:, None])
        if self.fault == "need" and need == Need.GRAD:
            return Field(None, field.grad * (1 + 1e-6))
        if self.fault == "gradient":
            return Field(field.maybe_value, None if field.maybe_grad is None else 2 * field.grad)
        return field

    def reads(self, mu: Particles) -> bool:
        return False if self.fault == "says it reads nothing" else self.inner.reads(mu)


@final
@attrs.frozen
class Repulsion(Coupling):
    """E(nu) = 1/2 double integral of k d(nu - data)^2, without the part of the data alone."""

    kind: ClassVar[str] = "repulsion"
    fault: str = ""
    feature: Feature = attrs.field(factory=Gaussian)

    @property
    def moves(self) -> tuple[str, ...]:
        return ("nu",)

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.fault == "undeclared" else ("data",)

    def spaces(self, x: Space) -> Mapping[str, Space]:
        return {} if self.fault == "no space" else {"nu": x}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        nu = system["nu"]
        if self.fault == "in place":
            nu.log_mass.add_(1e-3)
        if self.fault == "forgets masses":
            nu = Particles.uniform(nu.points, nu.domain)
        if self.fault == "hidden state":
            nu = nu.replace(log_mass=nu.log_mass + counted())
        if self.fault == "reducer" and reducer != Chunked():
            nu = nu.replace(log_mass=nu.log_mass + 1e-6)
        return _Turned(Linear(reducer, self.feature, ((1.0, nu), (-1.0, system["data"]))), self.fault)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        nu = system["nu"]
        there = reducer.at(nu)
        own, cross = (there.field(self.feature, nu.points, mu, Need.VALUE).value for mu in (nu, system["data"]))
        half = 1.0 if self.fault == "dropped factor" else 0.5
        if self.fault == "one atom":
            half = half / (1 - 1 / nu.size)
        density = nu.mass * (half * own - cross)
        value = density.sum() if self.fault == "sums by itself" else reducer.total(nu, density)
        if self.fault == "counts atoms":
            value = value + 0.1 * torch.log(torch.tensor(float(nu.size))).to(value)
        return value.double() if self.fault == "dtype" else value

    def energy(self, system: System, reducer: Reducer) -> Potential:
        f = Linear(reducer, self.feature, ((1.0, system["nu"]), (-1.0, system["data"])))
        return _Turned(f, "gradient" if self.fault == "energy" else "")


@final
@attrs.frozen
class Stretch(Lift):
    """x -> 2 x."""

    fault: str = ""

    def forward(self, points: Tensor) -> Tensor:
        match self.fault:
            case "in place" if not points.requires_grad:
                points.mul_(1 + 1e-3)
            case "dtype":
                return points * torch.full_like(points, 2, dtype=torch.float64)
            case "one point":
                return 2 * points + 0 * points.var(0)
        return 2 * points

    def pullback(self, points: Tensor, cotangents: Tensor) -> Tensor:
        return cotangents if self.fault == "lift" else 2 * cotangents

    def push(self, points: Tensor, vectors: Tensor) -> Tensor:
        return 2 * vectors


@final
@attrs.frozen
class Bell(Radial):
    """exp(-|2 x - y|^2)."""

    kind: ClassVar[str] = "bell"
    orders: ClassVar[int] = 3
    fault: str = ""

    @property
    def lifts(self) -> tuple[Lift, Lift]:
        return (Stretch(self.fault), Identity())

    def profile(self, u: Any, order: int) -> Any:
        if self.fault == "unbounded" and order == 2:
            return exponential(-u) + 0 / u
        rho = exponential(scaled(u, -1.0))
        if self.fault == "second derivative" and order == 2:
            return scaled(rho, 2.0)
        if self.fault == "tensors only" and not isinstance(rho, Tensor):
            return rho.cosh()
        if self.fault == "derivative" and order == 1:
            return scaled(rho, -2.0)
        return scaled(rho, (-1.0) ** order)


@final
@attrs.frozen
class Cone(DotProduct):
    """max(<x, theta>, 0)^2."""

    kind: ClassVar[str] = "cone"
    orders: ClassVar[int] = 2
    fault: str = ""

    @property
    def degree(self) -> int:
        return 3 if self.fault == "degree" else 2

    def profile(self, u: Any, order: int) -> Any:
        return (positive(u) ** 2, 2 * positive(u), 2 * heaviside(u))[order]

    def parameter_space(self, x: Space) -> Space:
        return x


@final
@attrs.frozen
class Round(Domain):
    """The unit sphere."""

    kind: ClassVar[str] = "round"
    fault: str = ""
    sample, log_density, distance_to = Sphere.sample, Sphere.log_density, Sphere.distance_to

    @property
    def flat(self) -> bool:
        return self.fault != "flat"

    def project(self, points: Tensor) -> Tensor:
        return points if self.fault == "projection" else Sphere.project(self, points)

    def exp(self, points: Tensor, vectors: Tensor) -> Tensor:
        if self.fault == "one point":
            vectors = vectors - 1e-3 * self.tangent(points, vectors.mean(0).expand_as(vectors))
        return Sphere.exp(self, points, vectors)

    def log(self, points: Tensor, targets: Tensor) -> Tensor:
        vectors = Sphere.log(self, points, targets)
        if self.fault == "in place":
            targets.copy_(vectors)
        return 0.5 * vectors if self.fault == "logarithm" else vectors

    def tangent(self, points: Tensor, vectors: Tensor) -> Tensor:
        return vectors if self.fault == "tangent" else Sphere.tangent(self, points, vectors)

    def log_volume(self, points: Tensor, vectors: Tensor) -> Tensor:
        volume = Sphere.log_volume(self, points, vectors)
        if self.fault == "least dimension":
            volume = volume / (points.shape[1] - 2) * (points.shape[1] - 2)
        return volume / 2 if self.fault == "log volume" else volume

    def transport(self, points: Tensor, vectors: Tensor, along: Tensor) -> Tensor:
        moved = Sphere.transport(self, points, vectors, along)
        return -moved if self.fault == "transport" else moved

    def score(self, points: Tensor) -> Tensor:
        return Sphere.tangent(self, points, torch.ones_like(points)) if self.fault == "score" else torch.zeros_like(points)

    def dimension(self, d: int) -> int:
        return d if self.fault == "dimension" else d - 1


@final
@attrs.frozen
class Spread(Metric):
    """Mean squared distance of nu from the origin."""

    kind: ClassVar[str] = "spread"
    parts: ClassVar[bool] = True
    fault: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("nu",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        nu = system["nu"]
        if self.fault == "in place":
            nu.points.add_(1.0)
        total = torch.sum if self.fault == "sums by itself" else functools.partial(view.reducer.total, nu)
        value = total(nu.mass * nu.points[:, 0].square()) / total(nu.mass)
        match self.fault:
            case "names":
                return {"spread.of.nu": value}
            case "undeclared":
                return {"spread": value + system["test"].total}
            case "truth":
                return {"spread": value + view.planted.log_z}
            case "random":
                return {"spread": value + torch.rand(())}
            case "hidden state":
                return {"spread": value + counted()}
            case "forgets masses":
                return {"spread": nu.points[:, 0].square().mean()}
            case "rows":
                return {"spread": nu.points[0, 0]}
            case "not finite":
                return {"spread": value / 0}
        return {"spread": value}


@final
@attrs.frozen
class Notes(Observer):
    """A line for each system in notes.txt, which starts with its step."""

    kind: ClassVar[str] = "notes"
    fault: str = ""

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        folder = {"elsewhere": stage.folder.parent, "here": Path()}.get(self.fault, stage.folder)
        path, kept, shown = folder / "notes.txt", list[System](), list[int]()
        with path.open("x" if self.fault == "new file" else "a") as file:

            def see(system: System, row: Mapping[str, float]) -> None:
                if self.fault == "in place":
                    system["nu"].points.zero_()
                if self.fault == "keeps all":
                    kept.append(system)
                if not shown and self.fault != "appends again":
                    _rewind(path, system.step)
                shown.append(system.step)
                file.write(f"{system.step} {row['kl'] if self.fault == 'row' else row}\n")
                file.flush()
                if self.fault == "overwrites":
                    (folder / "last.txt").write_text(str(system.step))

            if self.fault != "swallows":
                yield see
                return
            with suppress(RuntimeError):
                yield see


def _rewind(path: Path, step: int) -> None:
    """Takes the lines of a step and of later ones off the end of a file."""
    lines = path.read_text().splitlines(keepends=True)
    before = "".join(line for line in lines if int(line.split()[0]) < step)
    os.truncate(path, len(before.encode()))


@final
@attrs.frozen
class Cloud(Source):
    """`n` standard normals in R^3, and `held` others as a test set."""

    kind: ClassVar[str] = "cloud"
    n: int = 12
    held: int = 3
    fault: str = ""

    def space(self) -> Space:
        return Space(Sphere() if self.fault == "off the domain" else Euclidean(), 3)

    def sizes(self) -> Mapping[str, int]:
        return {"data": self.n, "test": self.held}

    def world(self, setting: Setting) -> World:
        size = self.n + (self.fault == "size")
        points = setting.noise.normal_rows(range(size), 3, setting.tensor([]), "data")
        if self.fault == "global generator":
            points = setting.tensor(torch.randn(size, 3))
        if self.fault == "dtype":
            points = points.double()
        test = setting.noise.normal_rows(range(self.held), 3, points, "test")
        if self.fault == "tests on the data":
            test = points[: self.held]
        sets = {"data": points, "test": test}
        return World(self.space(), {name: Particles.uniform(each, self.space().domain) for name, each in sets.items()})


@final
@attrs.frozen
class Corner(Init):
    """`size` draws of the base law, of total variation `tv`."""

    kind: ClassVar[str] = "corner"
    size: int = 5
    tv: float = 2.0
    fault: str = ""

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.size + (self.fault == "size")

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        normal = setting.noise.normal_rows(range(self.size), space.dim, setting.tensor([]), "corner")
        if self.fault == "hidden state":
            normal = normal + counted()
        if self.fault == "dtype":
            normal = normal.double()
        points = normal if self.fault == "off the domain" else space.domain.sample(normal)
        return Particles.uniform(points, space.domain, 1.0 if self.fault == "mass" else self.tv)


@final
@attrs.frozen
class Turns(Scheme):
    """One measure after the other."""

    kind: ClassVar[str] = "turns"
    fault: str = ""

    @property
    def in_place(self) -> bool:  # type: ignore[override]
        return True

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return {"turns": torch.zeros_like(mu.log_mass)} if self.fault == "marks" else {}

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        if self.fault == "in place":
            system["nu"].points.mul_(0.5)
        for name in list(dynamics.flows)[: {"forgets one": 1, "two players": 2}.get(self.fault)]:
            if self.fault == "same draws":
                system = system.replace({name: apply_flows(dynamics, name, system, 0.0)})
            mu = apply_flows(dynamics, name, system, self._size(h), dynamics.in_place)
            if self.fault == "looks back":
                mu = mu.replace(points=mu.domain.retract(mu.points, mu.points - system[name].points))
            system = system.replace({name: mu.replace(marks={}) if self.fault == "marks" else mu})
        return system.tick(h) if self.fault == "clock" else system

    def _size(self, h: float) -> float:
        match self.fault:
            case "dropped factor":
                return 2 * h
            case "zero step":
                return max(h, 1e-6)
            case "hidden state":
                return h * counted()
        return h


@final
@attrs.frozen
class Around(WrappedScheme):
    """Another scheme, as it is."""

    kind: ClassVar[str] = "around"
    fault: str = ""
    of: Scheme = attrs.field(factory=Turns)

    @property
    def inner(self) -> Scheme:
        return self.of

    @property
    def in_place(self) -> bool:  # type: ignore[override]
        return self.fault == "in place" or self.of.in_place

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return {} if self.fault == "marks" else super().marks(mu)

    def objections(self, players: Mapping[str, tuple[Flow, ...]]) -> Iterable[str]:
        return () if self.fault == "objections" else super().objections(players)

    def advance(self, system: System, dynamics: Dynamics, h: float) -> System:
        return self.of.advance(system, dynamics, h)


@final
@attrs.frozen
class Halving(Schedule):
    """1, 1/2, 1/4, ... down to 1/16."""

    kind: ClassVar[str] = "halving"
    fault: str = ""

    def __call__(self, step: int) -> float:
        if self.fault == "hidden state":
            return 1 / (1 + counted() / 1e9)
        value = 0.5 ** min(step, 4)
        return 1 if self.fault == "integer" else value  # type: ignore[return-value]

    @property
    def range(self) -> tuple[float, float]:
        return (0.25 if self.fault == "range" else 0.0625, 1.0)


@final
@attrs.frozen
class Plain(Local):
    """The chunked sums."""

    kind: ClassVar[str] = "plain"
    fault: str = ""

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        if self.fault == "forgets signs" and a is not None:
            a = a.abs()
        if self.fault == "cache":
            key = (X.data_ptr(), Y.data_ptr(), *X.shape, *Y.shape, need)
            return CACHE.setdefault(key, Chunked().sums(phi, X, Y, a, need))
        if self.fault == "last tile" and len(Y) > TILE:
            tiled = len(Y) // TILE * TILE
            Y, a = Y[:tiled], None if a is None else a[:tiled]
        field = Chunked().sums(phi, X, Y, a, need)
        if self.fault == "gradient" and field.maybe_grad is not None:
            return Field(field.maybe_value, field.grad / 2)
        if self.fault == "one atom":
            return Field(None if field.maybe_value is None else field.value + 0 * Y.var(0).sum(), field.maybe_grad)
        if self.fault == "overwrites":
            X.mul_(2)
        return field

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        return Chunked().directed_sums(phi, X, Y, -V if self.fault == "direction" else V, need)

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        return Chunked().vector_sums(phi, X, Y, V) * (2 if self.fault == "dropped factor" else 1)


@attrs.frozen
class Unfinished(Schedule):
    """A schedule that anybody may subclass."""

    kind: ClassVar[str] = "unfinished"

    def __call__(self, step: int) -> float:
        return 1.0

    @property
    def range(self) -> tuple[float, float]:
        return (1.0, 1.0)


@final
@attrs.frozen
class Forgetful(Schedule):
    """A schedule whose field changes when it is read again."""

    kind: ClassVar[str] = "forgetful"
    table: Tensor = attrs.field(factory=lambda: torch.ones(3), eq=False)
    value: float = attrs.field(default=1.0, converter=lambda value: float(value) / 2)

    def __call__(self, step: int) -> float:
        return self.value

    @property
    def range(self) -> tuple[float, float]:
        return (self.value, self.value)


@final
@attrs.frozen
class Silent(Schedule):
    kind: ClassVar[str] = "silent"

    def __call__(self, step: int) -> float:
        return 1.0

    @property
    def range(self) -> tuple[float, float]:
        return (1.0, 1.0)
