"""Wrong components, each wrong in one way: the conformance kit finds each fault by the promise that names it, and no other does.

Every class has a field `fault`; without one it is right, and keeps every promise. `pytest tests/test_faults.py` shows how many
faults are found of how many.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, final

import attrs
import pytest
import torch
from torch import Tensor

from measureflow.chunked import Chunked
from measureflow.coupling import Coupling, Linear, Potential
from measureflow.domain import Domain, Space
from measureflow.feature import Feature, Identity, Lift, Radial, exponential, scaled
from measureflow.flow import Context, Flow
from measureflow.measure import Field, Need, Particles, System
from measureflow.metric import Metric, View
from measureflow.noise import Noise
from measureflow.observe import Observer, See, Stage
from measureflow.plugins import Registry
from measureflow.reduce import Local, Reducer
from measureflow.schedule import Schedule, scheduled
from measureflow.scheme import Game, Scheme
from measureflow.source import Init, Setting, Source, World
from measureflow.testing import check
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.gaussian import Gaussian

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
        h = h * self.rate(context.step)
        if h == 0 and self.fault != "zero step":
            return mu
        V = potential(mu.points, Need.BOTH if self.fault == "asks too much" else Need.GRAD)
        move = self._move(V.grad * (-h * mu.sign)[:, None], mu, h, context)
        points = (
            mu.points + move if self.fault == "projection" else mu.domain.retract(mu.points, mu.domain.tangent(mu.points, move))
        )
        return self._told(mu, points, h)

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
                return Particles(
                    *(t.double() for t in (points, mu.sign, mu.log_mass)), mu.domain, {"age": age}, mu.offset, mu.whole
                )
        return mu.replace(points=points, marks={"age": age})


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
            return Field(
                *(None if p is None else p * sign.view(-1, *[1] * (p.ndim - 1)) for p in (field.maybe_value, field.maybe_grad))
            )
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
        return {"nu": x}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        nu = system["nu"]
        if self.fault == "in place":
            nu.log_mass.add_(1e-3)
        if self.fault == "forgets masses":
            nu = Particles.uniform(nu.points, nu.domain)
        if self.fault == "hidden state":
            nu = nu.replace(log_mass=nu.log_mass + counted())
        return _Turned(Linear(reducer, self.feature, ((1.0, nu), (-1.0, system["data"]))), self.fault)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        nu = system["nu"]
        own = reducer.field(self.feature, nu.points, nu, Need.VALUE).value
        cross = reducer.field(self.feature, nu.points, system["data"], Need.VALUE).value
        half = 1.0 if self.fault == "dropped factor" else 0.5
        value = reducer.total(nu, nu.mass * (half * own - cross))
        if self.fault == "counts atoms":
            value = value + 0.1 * torch.log(torch.tensor(float(nu.size))).to(value)
        return value.double() if self.fault == "dtype" else value

    def energy(self, system: System, reducer: Reducer) -> Potential:
        raise TypeError("models no data")


@final
@attrs.frozen
class Stretch(Lift):
    """x -> 2 x."""

    fault: str = ""

    def forward(self, points: Tensor) -> Tensor:
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
        if self.fault == "derivative" and order == 1:
            return scaled(rho, -2.0)
        return scaled(rho, (-1.0) ** order)


@final
@attrs.frozen
class Round(Domain):
    """The unit sphere."""

    kind: ClassVar[str] = "round"
    fault: str = ""
    project, exp, log, sample = Sphere.project, Sphere.exp, Sphere.log, Sphere.sample
    log_density, distance_to = Sphere.log_density, Sphere.distance_to

    @property
    def flat(self) -> bool:
        return self.fault != "flat"

    def tangent(self, points: Tensor, vectors: Tensor) -> Tensor:
        return vectors if self.fault == "tangent" else Sphere.tangent(self, points, vectors)

    def log_volume(self, points: Tensor, vectors: Tensor) -> Tensor:
        volume = Sphere.log_volume(self, points, vectors)
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
    fault: str = ""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("nu",)

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        nu = system["nu"]
        if self.fault == "in place":
            nu.points.add_(1.0)
        value = view.reducer.total(nu, nu.mass * nu.points[:, 0].square()) / nu.total
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
            case "rows":
                return {"spread": nu.points[0, 0]}
            case "not finite":
                return {"spread": value / 0}
        return {"spread": value}


@final
@attrs.frozen
class Notes(Observer):
    """A line for each system in notes.txt."""

    kind: ClassVar[str] = "notes"
    fault: str = ""

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        path = stage.folder.parent / "notes.txt" if self.fault == "elsewhere" else stage.folder / "notes.txt"
        with path.open("x" if self.fault == "new file" else "a") as file:

            def see(system: System, row: Mapping[str, float]) -> None:
                if self.fault == "in place":
                    system["nu"].points.zero_()
                file.write(f"{system.step} {row['kl'] if self.fault == 'row' else row}\n")

            if self.fault != "swallows":
                yield see
                return
            try:
                yield see
            except RuntimeError:
                pass


@final
@attrs.frozen
class Cloud(Source):
    """`n` standard normals in R^3."""

    kind: ClassVar[str] = "cloud"
    n: int = 12
    fault: str = ""

    def space(self) -> Space:
        return Space(Sphere() if self.fault == "off the domain" else Euclidean(), 3)

    def sizes(self) -> Mapping[str, int]:
        return {"data": self.n}

    def world(self, setting: Setting) -> World:
        size = self.n + (self.fault == "size")
        points = setting.noise.normal_rows(range(size), 3, setting.tensor([]), "data")
        if self.fault == "global generator":
            points = setting.tensor(torch.randn(size, 3))
        if self.fault == "dtype":
            points = points.double()
        return World(self.space(), {"data": Particles.uniform(points, self.space().domain)})


@final
@attrs.frozen
class Corner(Init):
    """`size` draws of the base law."""

    kind: ClassVar[str] = "corner"
    size: int = 5
    fault: str = ""

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.size + (self.fault == "size")

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        normal = setting.noise.normal_rows(range(self.size), space.dim, setting.tensor([]), "corner")
        if self.fault == "hidden state":
            normal = normal + counted()
        return Particles.uniform(normal if self.fault == "off the domain" else space.domain.sample(normal), space.domain)


@final
@attrs.frozen
class Turns(Scheme):
    """One measure after the other."""

    kind: ClassVar[str] = "turns"
    in_place: ClassVar[bool] = False
    fault: str = ""

    def marks(self, mu: Particles) -> Mapping[str, Tensor]:
        return {"turns": torch.zeros_like(mu.log_mass)} if self.fault == "marks" else {}

    def advance(self, system: System, game: Game, h: float) -> System:
        if self.fault == "in place":
            system["nu"].points.mul_(0.5)
        for name in list(game.players)[: 1 if self.fault == "forgets one" else None]:
            mu = game.walk(name, system, 2 * h if self.fault == "dropped factor" else h)
            system = system.replace({name: mu.replace(marks={}) if self.fault == "marks" else mu})
        return system.tick(h) if self.fault == "clock" else system


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
        field = Chunked().sums(phi, X, Y, a, need)
        if self.fault == "gradient" and field.maybe_grad is not None:
            return Field(field.maybe_value, field.grad / 2)
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


SPHERE = Space(Sphere(), 4)
FAULTS: dict[type, dict[str, str]] = {
    Drift: {
        "sign": "energy falls",
        "projection": "domain kept",
        "in place": "pure",
        "hidden state": "no hidden state",
        "global generator": "own noise only",
        "zero step": "zero step is the identity",
        "not local": "local is true",
        "rows": "order of atoms",
        "undeclared": "reads are declared",
        "asks too much": "asks what it needs",
        "host": "no host synchronisation",
        "one atom": "one atom",
        "drops marks": "shape kept",
        "size": "shape kept",
        "dtype": "shape kept",
        "masses": "masses",
        "order": "weak order",
    },
    Repulsion: {
        "sign of some": "first variation",
        "gradient": "first variation",
        "dropped factor": "first variation",
        "forgets masses": "first variation",
        "counts atoms": "a functional of measures",
        "undeclared": "reads are declared",
        "in place": "pure",
        "hidden state": "pure",
        "says it reads nothing": "reads of a potential",
        "dtype": "float32",
    },
    Bell: {"derivative": "profile derivatives", "lift": "lifts", "unbounded": "bounded at the ends"},
    Round: {
        "tangent": "tangency",
        "log volume": "volume",
        "transport": "transport",
        "score": "base law",
        "flat": "base law",
        "dimension": "dimension",
    },
    Spread: {
        "in place": "pure",
        "names": "names are declared",
        "undeclared": "reads are declared",
        "truth": "reads are declared",
        "random": "same system same numbers",
        "hidden state": "same system same numbers",
        "rows": "order of atoms",
        "not finite": "finite numbers",
    },
    Notes: {
        "in place": "pure",
        "elsewhere": "own folder",
        "new file": "resumed",
        "row": "opens and closes",
        "swallows": "lets errors through",
    },
    Cloud: {
        "size": "sizes are those yielded",
        "off the domain": "on its space",
        "global generator": "drawn by key",
        "dtype": "dtype obeyed",
    },
    Corner: {"size": "atoms are those yielded", "off the domain": "on the given space", "hidden state": "started by key"},
    Turns: {
        "in place": "pure",
        "forgets one": "only players move",
        "clock": "only players move",
        "marks": "marks are declared",
        "dropped factor": "first order",
    },
    Halving: {"range": "range is true", "hidden state": "pure", "integer": "finite numbers"},
    Plain: {
        "forgets signs": "values",
        "gradient": "gradients",
        "direction": "directional sums",
        "dropped factor": "vector sums",
        "overwrites": "fresh results",
    },
}
CLAIMS: dict[type, dict[str, Any]] = {Drift: {"keeps": "masses", "order": 1, "space": SPHERE}}
CASES = [(cls, fault, expected) for cls, faults in FAULTS.items() for fault, expected in faults.items()]


@pytest.mark.parametrize("cls", FAULTS, ids=lambda cls: cls.kind)
def test_the_right_twin_keeps_every_promise(cls: Callable[..., Any], registry: Registry) -> None:
    report = check(cls(), registry=registry, **CLAIMS.get(cls, {})).raise_if_broken()  # type: ignore[call-overload]
    assert len(report.of("kept")) >= len(report.of("not applicable"))


@pytest.mark.parametrize(("cls", "fault", "expected"), CASES, ids=lambda value: getattr(value, "kind", value))
def test_a_fault_breaks_the_promise_that_names_it(cls: Callable[..., Any], fault: str, expected: str, registry: Registry) -> None:
    CELL[0] = 0
    report = check(cls(fault=fault), registry=registry, **CLAIMS.get(cls, {}))  # type: ignore[call-overload]
    assert expected in [row.promise for row in report.broken], str(report)
    with pytest.raises(AssertionError, match=f"breaks {len(report.broken)} promise"):
        report.raise_if_broken()


@pytest.mark.parametrize(
    ("component", "expected"),
    [(Unfinished(), "frozen and final"), (Forgetful(), "config round trip"), (Forgetful(), "short repr")],
    ids=lambda value: getattr(value, "kind", value),
)
def test_faults_of_the_class_itself(component: Schedule, expected: str, registry: Registry) -> None:
    assert expected in [row.promise for row in check(component, registry=registry).broken]


def test_every_promise_that_can_be_broken_here_is_broken_by_a_fault() -> None:
    """The suite is as long as the kit: a promise without a fault is named here, with the reason."""
    from measureflow.testing.check import FAMILIES

    families = {cls.family: cls for cls in FAULTS}
    without = {
        (family, promise.name)
        for family, promises in FAMILIES.items()
        for promise in promises
        if promise.name not in FAULTS[families[family]].values()
    }
    assert without <= UNBROKEN.keys(), without - UNBROKEN.keys()


UNBROKEN: dict[tuple[str, str], str] = dict.fromkeys(itertools.product(["-"], ["-"]), "")
