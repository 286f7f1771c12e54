"""An experiment: what a TOML file says, and the simulation it stands for."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

import attrs
import psutil
import torch

from measureflow import config
from measureflow.coupling import Coupling
from measureflow.domain import Space
from measureflow.errors import ConfigError, MeasureflowError, unknown
from measureflow.flow import Flow, marked
from measureflow.measure import Particles, System
from measureflow.metric import View
from measureflow.noise import Keyed
from measureflow.observe import Probe, Watch
from measureflow.plugins import Registry
from measureflow.reduce import Auto, Reducer
from measureflow.schedule import Schedule, as_schedule, within
from measureflow.scheme import Game, Scheme
from measureflow.simulate import Simulation
from measureflow.source import Init, Setting, Source, World

DEFAULTS: Mapping[str, Any] = {
    "order": "sequential",
    "reducer": "auto",
    "observers": ["progress", "checkpoint", "curves"],
}
WORKING_COPIES = 4  # a moving measure's points, its gradient, its noise and the next points


@final
@attrs.frozen
class Player:
    """A moving measure: how it starts, and its flows in order."""

    init: Init
    flows: tuple[Flow, ...] = ()


def _name(_: Any, __: Any, value: str) -> None:
    if not value or not all(c.isalnum() or c in "._-" for c in value) or value[0] in ".-":
        raise ValueError(f"{value!r} names a folder: letters, digits, '.', '_' and '-' only, not starting with '.' or '-'")


@final
@attrs.frozen
class Experiment:
    """The whole config; `reducer` None means: picked per reduction ("auto")."""

    name: str = attrs.field(validator=_name)
    steps: int = attrs.field(validator=within(0))
    step: Schedule = attrs.field(converter=as_schedule, validator=within(0.0, open_low=True))
    coupling: Coupling
    measures: dict[str, Player]
    order: Scheme
    data: Source
    seed: int = attrs.field(default=0, validator=within(0, 2**63))
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    reducer: Reducer | None = None
    metrics: tuple[Probe, ...] = ()
    observers: tuple[Watch, ...] = ()


@final
@attrs.frozen(eq=False)
class Built:
    """An experiment ready to run: the first system, what moves it, and what metrics look through."""

    system: System
    simulation: Simulation
    view: View


def load(path: Path, registry: Registry, settings: tuple[str, ...] = ()) -> Experiment:
    """The experiment in a TOML file, with `dotted.path=value` overrides; raises ConfigError with every problem."""
    raw = config.read(path)
    for setting in settings:
        raw = config.override(raw, setting)
    return from_tables(raw, registry, str(path))


def from_tables(raw: Mapping[str, Any], registry: Registry, where: str = "experiment") -> Experiment:
    """The experiment that tables describe; raises ConfigError with every problem."""
    tables = {**DEFAULTS, **raw}
    if tables["reducer"] == "auto":
        del tables["reducer"]
    experiment = config.structure(tables, Experiment, registry, where)
    problems = list(_loose_ends(experiment))
    if problems:
        raise ConfigError(where, problems)
    return experiment


def _loose_ends(e: Experiment) -> Iterator[str]:
    """Names that lead nowhere, across components."""
    there = {*e.measures, *e.data.sizes()}
    for clash in sorted(set(e.measures) & set(e.data.sizes())):
        yield f"measures.{clash}: the data bring a measure of that name; rename yours"
    for name in e.coupling.moves:
        if name not in e.measures:
            yield f"coupling ({e.coupling.kind}): moves {unknown('measure', name, e.measures)}"
    for name in e.coupling.reads:
        if name not in there:
            yield f"coupling ({e.coupling.kind}): reads {unknown('measure', name, there)}"
    for name, player in e.measures.items():
        for i, flow in enumerate(player.flows):
            for read in flow.reads:
                if read not in there:
                    yield f"measures.{name}.flows.{i} ({flow.kind}): reads {unknown('measure', read, there)}"
    for i, probe in enumerate(e.metrics):
        for read in probe.metric.reads:
            if read not in there:
                yield f"metrics.{i} ({probe.metric.kind}): reads {unknown('measure', read, there)}"


def spaces(e: Experiment) -> dict[str, Space]:
    """Where each moving measure lives: as the coupling says, else where the data live."""
    known = e.coupling.spaces(e.data.space())
    return {name: known.get(name, e.data.space()) for name in e.measures}


def footprint(e: Experiment) -> dict[str, tuple[int, int, int]]:
    """(atoms, ambient dimension, bytes at work) of every measure, without making any."""
    width = torch.empty(0, dtype=getattr(torch, e.dtype)).element_size()
    sizes, x = e.data.sizes(), e.data.space()
    still = {name: (size, x.dim, size * x.dim * width) for name, size in sizes.items()}
    moving = {}
    for name, space in spaces(e).items():
        size = e.measures[name].init.atoms(sizes)
        moving[name] = (size, space.dim, WORKING_COPIES * size * space.dim * width)
    return still | moving


def device_of(e: Experiment) -> torch.device:
    """The device the experiment names, "auto" being a GPU where there is one; raises MeasureflowError."""
    if e.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(e.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MeasureflowError(
            f"device: {e.device!r} is not to be had here ({str(error).splitlines()[0]}); 'cpu' or 'auto' is"
        ) from None
    return device


def build(e: Experiment, registry: Registry) -> Built:
    """Draws the data and the initial measures, and ties the simulation together; raises MeasureflowError."""
    _fits(e)
    dtype, device, noise = getattr(torch, e.dtype), device_of(e), Keyed(e.seed)
    world = e.data.world(Setting(noise.at("data"), dtype, device))
    where = spaces(e)
    moving = {name: _start(name, e, where[name], world, Setting(noise.at("init", name), dtype, device)) for name in e.measures}
    players = {name: player.flows for name, player in e.measures.items()}
    reducer = e.reducer or Auto(registry.pick_reducer)
    game = Game(players, e.coupling, reducer, noise)
    return Built(
        System({**world.measures, **moving}),
        Simulation(game, e.order, e.step),
        View(e.coupling, reducer, noise, world.truth),
    )


def _start(name: str, e: Experiment, space: Space, world: World, setting: Setting) -> Particles:
    player = e.measures[name]
    try:
        mu = player.init.measure(space, world, setting)
    except MeasureflowError as error:
        raise MeasureflowError(f"measures.{name}.init: {error}") from None
    return marked(mu, player.flows, setting.noise)


def _fits(e: Experiment) -> None:
    """Raises MeasureflowError where the measures need more memory than is free on this machine."""
    parts = footprint(e)
    need, free = sum(size for _, _, size in parts.values()), psutil.virtual_memory().available
    if need > free:
        name, (atoms, d, _) = max(parts.items(), key=lambda part: part[1][2])
        raise MeasureflowError(
            f"this experiment needs about {need / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free: "
            f"{name!r} alone has {atoms:,} atoms in d = {d}; lower its size, or the copies of the data it starts from"
        )
