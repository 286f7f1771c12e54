"""What sources and inits promise: what they yield is what they said, where they said, and drawn by key."""

import itertools
from collections.abc import Callable, Iterator, Mapping

import attrs
import torch

from measureflow.config.memory import spaces
from measureflow.core.measure import Particles
from measureflow.core.noise import Keyed
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, Source
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.report import Gap
from measureflow.testing.trial import Trial

LOW = 1e-5  # allowed off a domain in float32: rounding of some coordinates
Yielded = Mapping[str, Particles]


def setting(seed: int = 0, dtype: torch.dtype = torch.float64) -> Setting:
    """What a source makes its tensors with."""
    return Setting(Keyed(seed), dtype, torch.device("cpu"))


def _world(source: Source, made: Setting) -> Yielded:
    return source.world(made).measures


@promise("count without making: sizes() is what memory is checked against before the run")
def sizes_are_those_yielded(source: Source, trial: Trial) -> Found:
    """sizes names the measures of the world with their numbers of atoms."""
    said, made = dict(source.sizes()), {name: mu.size for name, mu in _world(source, setting()).items()}
    yield holds(f"sizes() says {said}, the world has {made}", said == made)


@promise("give data and test the domain and the dimension that space() says; project what rounding moved")
def on_its_space(source: Source, trial: Trial) -> Found:
    """The world's space is the one that space() says, and its data lie on it."""
    world, space = source.world(setting()), source.space()
    yield holds(f"space() says {space}, the world {world.space}", world.space == space)
    for name, mu in world.measures.items():
        if name != "teacher":
            yield holds(f"{name} lives on {mu.domain} in d = {mu.dim}", (mu.domain, mu.dim) == (space.domain, space.dim))
        yield from _sound(name, mu)
    yield holds("a truth needs its teacher among the measures", world.truth is None or "teacher" in world.measures)


def _sound(name: str, mu: Particles, tolerance: float = 1e-9) -> Iterator[Gap]:
    yield close(f"{name} off the domain", mu.domain.distance_to(mu.points), 0, tolerance)
    for part, tensor in mu.tensors.items():
        yield holds(f"{name}.{part} is not finite", bool(tensor.isfinite().all()))


@promise("make tensors by setting.tensor, and draw from setting.noise")
def dtype_obeyed(source: Source, trial: Trial) -> Found:
    """Every tensor has the dtype and the device that are asked for."""
    yield from _dtyped(lambda made: _world(source, made))


def _dtyped(make: Callable[[Setting], Yielded]) -> Iterator[Gap]:
    for dtype in (torch.float32, torch.float64):
        for name, mu in make(setting(0, dtype)).items():
            yield holds(f"{name} is {mu.points.dtype} where {dtype} is asked for", mu.points.dtype == mu.log_mass.dtype == dtype)
            yield from _sound(name, mu, LOW if dtype == torch.float32 else 1e-9)


@promise("draw from setting.noise only")
def drawn_by_key(source: Source, trial: Trial) -> Found:
    """The same seed gives the same bits, another seed others where it draws, and torch's global generator is untouched."""
    yield from _keyed(lambda made: _world(source, made))


def _keyed(make: Callable[[Setting], Yielded]) -> Iterator[Gap | str]:
    state = torch.get_rng_state()
    one, two, other = (_tensors(make(setting(seed))) for seed in (0, 0, 1))
    yield holds("torch's global generator was drawn from", torch.equal(state, torch.get_rng_state()))
    yield same("the same seed gives another", one, two)
    differs = any(not torch.equal(tensor, other[name]) for name, tensor in one.items() if name in other)
    yield "another seed gives another" if differs else "draws nothing"


def _tensors(made: Yielded) -> dict[str, torch.Tensor]:
    return {f"{name}.{part}": tensor for name, mu in made.items() for part, tensor in mu.tensors.items()}


@promise("split the points into data, test and validation: none may be in two of them, or a test says nothing")
def no_row_in_two_sets(source: Source, trial: Trial) -> Found:
    """Data, test and whatever else stands still beside them have no points in common."""
    world = _world(source, setting())
    rows = {name: mu.points.tolist() for name, mu in world.items() if name != "teacher"}
    sets = {name: set(map(tuple, points)) for name, points in rows.items()}
    if len(sets) < 2:
        raise InapplicableError("there is one set")
    if any(len(sets[name]) < len(points) for name, points in rows.items()):
        raise InapplicableError("points repeat within a set, so that they may between two")
    for one, other in itertools.combinations(sets, 2):
        yield holds(f"{len(sets[one] & sets[other])} rows are in both {one} and {other}", not sets[one] & sets[other])


SOURCE: tuple[Promise, ...] = (sizes_are_those_yielded, on_its_space, dtype_obeyed, drawn_by_key, no_row_in_two_sets)


def _started(init: Init, trial: Trial, made: Setting) -> tuple[str, Particles]:
    """The first measure of the trial's experiment whose space the init does not refuse, as it starts it."""
    e, refused = trial.experiment, MeasureflowError("the trial's experiment has no measures")
    world = e.data.world(attrs.evolve(made, noise=Keyed(5)))
    for name, home in spaces(e).items():
        try:
            return name, init.measure(home, world, made)
        except MeasureflowError as error:
            refused = error
    raise refused


@promise("atoms(sizes) is the size of what measure returns")
def atoms_are_those_yielded(init: Init, trial: Trial) -> Found:
    """It says beforehand how many atoms it will make."""
    _, mu = _started(init, trial, setting())
    said = init.atoms(trial.experiment.data.sizes())
    yield holds(f"atoms() says {said}, the measure has {mu.size}", said == mu.size)


@promise("put every atom on the space that is given: end with its domain's project")
def on_the_given_space(init: Init, trial: Trial) -> Found:
    """The measure lies on the given space."""
    name, mu = _started(init, trial, setting())
    home = spaces(trial.experiment)[name]
    yield holds(f"it lives on {mu.domain} in d = {mu.dim}", (mu.domain, mu.dim) == (home.domain, home.dim))
    yield from _sound("the measure", mu)


@promise("make tensors by setting.tensor, and draw from setting.noise")
def dtype_obeyed_by_the_start(init: Init, trial: Trial) -> Found:
    """Every tensor has the dtype and the device that are asked for."""
    yield from _dtyped(lambda made: dict([_started(init, trial, made)]))


@promise("draw from setting.noise only")
def started_by_key(init: Init, trial: Trial) -> Found:
    """The same seed gives the same bits, another seed others where it draws, and torch's global generator is untouched."""
    yield from _keyed(lambda made: dict([_started(init, trial, made)]))


@promise("give the atoms masses that sum to tv in size: log_mass = log(tv / size) each, say")
def tv_is_what_it_says(init: Init, trial: Trial) -> Found:
    """The masses of a start with a field `tv` sum to it in size."""
    tv = getattr(init, "tv", None)
    if not isinstance(tv, float):
        raise InapplicableError("it has no tv")
    _, mu = _started(init, trial, setting())
    yield close("the total variation", mu.mass.abs().sum(), tv)


INIT: tuple[Promise, ...] = (
    atoms_are_those_yielded,
    on_the_given_space,
    dtype_obeyed_by_the_start,
    started_by_key,
    tv_is_what_it_says,
)
