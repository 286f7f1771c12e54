"""An experiment: what a TOML file says, and the simulation it stands for."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

import attrs
import psutil
import torch

from measureflow import config, notebook
from measureflow.coupling import Coupling
from measureflow.domain import Space
from measureflow.errors import ConfigError, MeasureflowError, unknown
from measureflow.flow import Flow, marked
from measureflow.guard import bounds_of
from measureflow.measure import Particles, System
from measureflow.metric import View
from measureflow.noise import Keyed, Noise
from measureflow.observe import Probe, Watch
from measureflow.plugins import Registry
from measureflow.reduce import Reducer, auto
from measureflow.schedule import LARGEST, Schedule, as_schedule, within
from measureflow.scheme import Game, Scheme
from measureflow.shard import Sharded, part
from measureflow.simulate import Simulation
from measureflow.source import Init, Setting, Source, World
from measureflow.stream import ROWS
from measureflow.team import Team

DEFAULTS: Mapping[str, Any] = {
    "order": "sequential",
    "reducer": "auto",
    "observers": ["progress", "checkpoint", "curves", "snapshots", "health"],
}
WORKING_COPIES = 5  # a moving measure's points before and between its flows, the gradient, the noise, the next points
SHARDED = 4096  # atoms from which on a measure is held in parts: fewer cost more to exchange than to hold
STREAMED_COPIES = 2  # before and after, when blocks of it are moved in turn; in place perhaps 1
GOOD_COPIES = 1  # the last state known to be good, which a run in place cannot keep


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
    """The whole config.

    - `name` stands in the run folder's name; `seed` keys every draw;
    - `steps` of size `step` are taken (h, which each flow's rate multiplies), in the `order` of a scheme;
    - `data` brings the measures that stand still, `measures` are those that move, `coupling` gives them their potentials;
    - `device` is a name of torch's, "auto" a GPU where there is one; `dtype` is that of every tensor;
    - `reducer` None means: picked per reduction ("auto"); `in_place`: see `Game`;
    - `sharded` names the measures that several processes hold in parts, None those of at least `SHARDED` atoms;
    - `on_trouble`, a state that is not finite or runs away, the run stops, or goes on from the last good state with half the
      step ("halve-step"); `runaway`: times as far from 0 as at the start, or as 1 where that is more, a coordinate may get;
    - `metrics` are measured and `observers` look, each `every` so many steps.
    """

    name: str = attrs.field(validator=_name)
    steps: int = attrs.field(validator=within(0))
    step: Schedule = attrs.field(converter=as_schedule, validator=within(0.0, LARGEST, open_low=True))
    coupling: Coupling
    measures: dict[str, Player]
    order: Scheme
    data: Source
    seed: int = attrs.field(default=0, validator=within(0, 2**63))
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    reducer: Reducer | None = None
    in_place: bool = False
    sharded: tuple[str, ...] | None = None
    on_trouble: Literal["stop", "halve-step"] = "stop"
    runaway: float = attrs.field(default=1e6, validator=within(1.0))
    metrics: tuple[Probe, ...] = ()
    observers: tuple[Watch, ...] = ()

    def _repr_html_(self) -> str:
        return notebook.text(config.dumps(config.unstructure(self)))


@final
@attrs.frozen(eq=False)
class Built:
    """An experiment ready to run: the first system, what moves it, and what metrics look through."""

    system: System
    simulation: Simulation
    view: View

    def dealt(self, team: Team, names: Sequence[str] | None) -> "Built":
        """What one process of a team holds: its part of the named measures, by default the large ones, and all of the others.

        Raises MeasureflowError where there are more processes than atoms.
        """
        if team.size == 1:
            return self
        measures = self.system.measures
        chosen = [name for name, mu in measures.items() if mu.size >= SHARDED] if names is None else names
        for name in chosen:
            if measures[name].size < team.size:
                raise MeasureflowError(f"sharded: {name!r} has {measures[name].size} atoms for {team.size} processes; leave it out")
        reducer = Sharded(self.simulation.game.reducer, team)
        game = attrs.evolve(self.simulation.game, reducer=reducer)
        return Built(
            self.system.replace({name: part(measures[name], team) for name in chosen}),
            attrs.evolve(self.simulation, game=game),
            attrs.evolve(self.view, reducer=reducer),
        )

    def __repr__(self) -> str:
        return f"Built({self._rules()}, {self.system!r})"

    def _repr_html_(self) -> str:
        players = self.simulation.game.players.items()
        flows = [{"measure": name, "flows, in order": ", ".join(flow.kind for flow in flows) or "none"} for name, flows in players]
        return notebook.table(self._rules(), flows) + self.system._repr_html_()

    def _rules(self) -> str:
        simulation, h = self.simulation, self.simulation.step(self.system.step)
        return f"{simulation.game.coupling.kind}, {simulation.scheme.kind}, h = {h:.6g}"


def load(path: Path, registry: Registry, settings: tuple[str, ...] = ()) -> Experiment:
    """The experiment in a TOML file, with `dotted.path=value` overrides; raises ConfigError with every problem."""
    raw = functools.reduce(config.override, settings, config.read(path))
    unknown_here = set(raw) - {field.name for field in attrs.fields(Experiment)}
    others = sorted(unknown_here.intersection(registry.commands())) if unknown_here else []
    if others:
        raise ConfigError(str(path), [f"{name}: a table of another command: use `measureflow {name} {path}`" for name in others])
    return from_tables(raw, registry, str(path))


def from_tables(raw: Mapping[str, Any], registry: Registry, where: str = "experiment") -> Experiment:
    """The experiment that tables describe, ready to be built here; raises ConfigError with every problem."""
    experiment = typed(raw, registry, where)
    problems = [*_clashes(experiment), *_unavailable(experiment)] or [*_homeless(experiment)]
    if problems:
        raise ConfigError(where, problems)
    return experiment


def typed(raw: Mapping[str, Any], registry: Registry, where: str) -> Experiment:
    """The experiment that tables describe, its parts not yet held against each other or the data's files."""
    tables = {**DEFAULTS, **raw}
    if tables["reducer"] == "auto":
        del tables["reducer"]
    return config.structure(tables, Experiment, registry, where)


def _unavailable(e: Experiment) -> Iterator[str]:
    """What is not to be had here: the device, files, and names that lead nowhere."""
    try:
        device_of(e)
    except MeasureflowError as error:
        yield str(error)
    try:
        sizes = e.data.sizes()
    except MeasureflowError as error:
        yield str(error)
        return
    yield from _loose_ends(e, sizes)
    for name in e.measures:
        try:
            _atoms(name, e, sizes)
        except MeasureflowError as error:
            yield str(error)


def _homeless(e: Experiment) -> Iterator[str]:
    """Why the coupling cannot say where the measures live, of parts that are sound each by itself."""
    try:
        spaces(e)
    except MeasureflowError as error:
        yield f"coupling ({e.coupling.kind}): {error}"


def _clashes(e: Experiment) -> Iterator[str]:
    """Two metrics that write one name; flows that the scheme or the coupling cannot serve."""
    players = {name: player.flows for name, player in e.measures.items()}
    yield from e.order.objections(players)
    yield from e.coupling.objections(players)
    if e.in_place and not e.order.in_place:
        yield f"in_place: order = {e.order.kind!r} looks at measures as they were before they moved; use order = 'sequential'"
    if e.in_place and e.on_trouble == "halve-step":
        yield "on_trouble: 'halve-step' goes back to the last good state, which in_place = true overwrites; set one of the two"
    written = {"step": "every row", "seconds": "every row"}
    for i, probe in enumerate(e.metrics):
        mine = f"metrics.{i} ({probe.metric.kind})"
        for name in probe.metric.names:
            if name in written:
                yield f"{mine}: writes {name!r}, and so does {written[name]}; remove one"
            written[name] = mine


def _loose_ends(e: Experiment, sizes: Mapping[str, int]) -> Iterator[str]:
    """Names that lead nowhere, across components."""
    there = {*e.measures, *sizes}
    for clash in sorted(set(e.measures) & set(sizes)):
        yield f"measures.{clash}: the data bring a measure of that name; rename yours"
    for name, player in e.measures.items():
        if player.flows and name not in e.coupling.moves:
            yield (
                f"measures.{name}.flows: no potential moves it: {unknown('measure', name, e.coupling.moves)} "
                f"of coupling ({e.coupling.kind}); rename it or remove its flows"
            )
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
    for name in e.sharded or ():
        if name not in there:
            yield f"sharded: {unknown('measure', name, there)}"
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
        size = _atoms(name, e, sizes)
        moving[name] = (size, space.dim, _copies(e, name, size) * size * (space.dim + 1) * width)  # one number an atom besides
    return still | moving


def _copies(e: Experiment, name: str, size: int) -> int:
    """Copies of a measure's points that exist at one time, at most."""
    streamed = e.order.in_place and size > ROWS.get(device_of(e).type, size) and all(flow.local for flow in e.measures[name].flows)
    return (STREAMED_COPIES if streamed else WORKING_COPIES) + (0 if e.in_place else GOOD_COPIES)


def _atoms(name: str, e: Experiment, sizes: Mapping[str, int]) -> int:
    with _under(f"measures.{name}.init"):
        return e.measures[name].init.atoms(sizes)


def device_of(e: Experiment) -> torch.device:
    """The device the experiment names, "auto" being a GPU where there is one; raises MeasureflowError."""
    if e.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(e.device)
        torch.empty(0, device=device)
        torch.Generator(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise MeasureflowError(
            f"device: {e.device!r} is not to be had here ({str(error).splitlines()[0]}); 'cpu' or 'auto' is"
        ) from None
    return device


def build(e: Experiment, registry: Registry, where: str = "experiment") -> Built:
    """Draws the data and the initial measures, and ties the simulation together; raises ConfigError."""
    noise = Keyed(e.seed)
    try:
        world, moving = _drawn(e, noise, device_of(e))
    except MeasureflowError as error:
        raise ConfigError(where, [str(error)]) from None
    players = {name: player.flows for name, player in e.measures.items()}
    reducer = reducer_of(e, registry)
    game, system = Game(players, e.coupling, reducer, noise, e.in_place), System({**world.measures, **moving})
    game = attrs.evolve(game, bounds=bounds_of(system, game, e.runaway))
    return Built(
        system,
        Simulation(game, e.order, e.step),
        View(e.coupling, reducer, noise, world.truth),
    )


def reducer_of(e: Experiment, registry: Registry) -> Reducer:
    """The reducer that the experiment names, or the one that plugins pick, asked once for each kind of request."""
    return e.reducer or auto(functools.cache(registry.pick_reducer))


def _drawn(e: Experiment, noise: Noise, device: torch.device) -> tuple[World, dict[str, Particles]]:
    """The world and the moving measures as they start."""
    _fits(e, device)
    dtype, homes = getattr(torch, e.dtype), spaces(e)
    world = e.data.world(Setting(noise.at("data"), dtype, device))
    settings = {name: Setting(noise.at("init", name), dtype, device) for name in e.measures}
    return world, {name: _start(name, e, homes[name], world, setting) for name, setting in settings.items()}


def _start(name: str, e: Experiment, space: Space, world: World, setting: Setting) -> Particles:
    player = e.measures[name]
    with _under(f"measures.{name}.init"):
        mu = player.init.measure(space, world, setting)
    mu = marked(mu, player.flows, setting.noise)
    return mu.replace(marks={**mu.marks, **e.order.marks(mu)})


@contextmanager
def _under(path: str) -> Iterator[None]:
    """Puts `path` before the key that a component's error begins with."""
    try:
        yield
    except MeasureflowError as error:
        raise MeasureflowError(f"{path}.{error}") from None


def _fits(e: Experiment, device: torch.device) -> None:
    """Raises MeasureflowError where the measures need more memory than is free on the device."""
    parts = footprint(e)
    need = sum(size for _, _, size in parts.values())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if need > free:
        name, (atoms, d, _) = max(parts.items(), key=lambda part: part[1][2])
        raise MeasureflowError(
            f"this experiment needs about {need / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free: "
            f"{name!r} alone has {atoms:,} atoms in d = {d}; lower its size, or the copies of the data it starts from"
        )
