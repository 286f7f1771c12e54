"""What a coupling promises: potentials that are first variations of a functional of measures."""

import torch
from torch import Tensor

from measureflow.chunked import Chunked
from measureflow.coupling import Coupling
from measureflow.errors import MeasureflowError
from measureflow.keops import KeOps
from measureflow.measure import Need, Particles, System
from measureflow.testing.common import rebuilt
from measureflow.testing.promise import DIFFERENCE, STEP, Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.systems import cast, copied, measure, normals, reordered
from measureflow.testing.trial import Trial

SIZE = 12


def start(coupling: Coupling, trial: Trial, sizes: tuple[int, int] = (SIZE, 3)) -> System:
    """A random measure of each name that the coupling moves or reads; those of the trial's experiment where it has one."""
    names = [*coupling.moves, *coupling.reads]
    if trial.tables:
        system = trial.built(coupling=coupling).system
        return System({name: _unequal(system[name], 20 * i) for i, name in enumerate(names)})
    where = coupling.spaces(trial.space)
    first, more = sizes
    return System({name: measure(where.get(name, trial.space), first + more * i, 20 * i) for i, name in enumerate(names)})


def _unequal(mu: Particles, seed: int) -> Particles:
    return mu.replace(log_mass=mu.log_mass + 0.3 * normals(mu.size, seed=seed))


@promise("name in moves what gets a potential, in reads what is only looked at, and give each measure of moves a space")
def names_and_spaces(coupling: Coupling, trial: Trial) -> Found:
    """moves, reads and spaces agree."""
    yield holds("it moves nothing", bool(coupling.moves))
    both = sorted(set(coupling.moves) & set(coupling.reads))
    yield holds(f"both moved and read: {', '.join(both)}", not both)
    space = trial.experiment.data.space() if trial.tables else trial.space
    missing = sorted(set(coupling.moves) - set(coupling.spaces(space)))
    yield holds(f"no space is given for {', '.join(missing)}", not missing)
    yield holds("objections are not texts", all(isinstance(said, str) for said in coupling.objections({})))


@promise("differentiate value by hand in one atom's mass and place; one sign for each measure, minus where it ascends")
def first_variation(coupling: Coupling, trial: Trial) -> Found:
    """Each potential is, up to one sign a measure, the first variation of value, by central differences."""
    system = start(coupling, trial)
    for name in coupling.moves:
        yield from _varied(coupling, name, system)


def _varied(coupling: Coupling, name: str, system: System) -> Found:
    """The potential of one measure against value, along moves of all points, and of the masses of each half of the atoms."""
    mu, d = system[name], system[name].dim
    potential = coupling.bind(name, system, Chunked())
    eta = normals(mu.size, seed=8).abs() + 0.1
    halves = [torch.where(torch.arange(mu.size) % 2 == k, eta, 0 * eta) for k in ((0, 1) if mu.size > 1 else (0,))]
    value = potential(mu.points, Need.VALUE).value
    predicted = [(mu.mass * value * half).sum() for half in halves]
    slopes = [_slope(coupling, name, system, lambda e, half=half: mu.replace(log_mass=mu.log_mass + e * half)) for half in halves]
    largest = max(range(len(halves)), key=lambda k: float(slopes[k].abs()))
    sign = 1.0 if float(predicted[largest] * slopes[largest]) >= 0 else -1.0
    for each, slope in zip(predicted, slopes, strict=True):
        yield close(f"value of {name}'s potential is the first variation", sign * each, slope, DIFFERENCE)
    try:
        grad = potential(mu.points, Need.GRAD).grad
    except MeasureflowError:
        return  # moves masses only, and says so
    v = mu.domain.tangent(mu.points, normals(mu.size, d, seed=7))
    along = _slope(coupling, name, system, lambda e: mu.replace(points=mu.domain.exp(mu.points, e * v)))
    yield close(
        f"gradient of {name}'s potential is the first variation", sign * (mu.mass * (grad * v).sum(1)).sum(), along, DIFFERENCE
    )


def _slope(coupling: Coupling, name: str, system: System, moved: object) -> Tensor:
    ends = [coupling.value(system.replace({name: moved(e)}), Chunked()) for e in (STEP, -STEP)]  # type: ignore[operator]
    return (ends[0] - ends[1]) / (2 * STEP)


@promise("let value and bind be integrals against the measures: sums over atoms weighed by their masses")
def a_functional_of_measures(coupling: Coupling, trial: Trial) -> Found:
    """Neither the order of the atoms nor an atom split into two changes the value or a potential."""
    system = start(coupling, trial)
    value = coupling.value(system, Chunked())
    for name in coupling.moves:
        mu = system[name]
        other = system.replace({name: reordered(mu, torch.arange(mu.size).roll(1))})
        split = system.replace({name: _split(mu)})
        for what, changed in (("in another order", other), ("split into halves", split)):
            yield close(f"value with atoms of {name} {what}", coupling.value(changed, Chunked()), value)
            for moved in coupling.moves:
                at = system[moved].points
                one, two = (coupling.bind(moved, each, Chunked())(at, Need.VALUE).value for each in (system, changed))
                yield close(f"potential of {moved} with atoms of {name} {what}", two, one)


def _split(mu: Particles) -> Particles:
    """Each atom as a third and two thirds of it."""
    twice = mu.take(torch.arange(2 * mu.size) % mu.size)
    share = torch.tensor([[1 / 3], [2 / 3]], dtype=torch.float64).log().repeat(1, mu.size).view(-1)
    return twice.replace(log_mass=twice.log_mass + share)


@promise("name every measure it looks at in moves or reads")
def reads_are_declared(coupling: Coupling, trial: Trial) -> Found:
    """It looks at no measure besides those that it moves and reads."""
    system = start(coupling, trial)  # has no others
    coupling.value(system, Chunked())
    for name in coupling.moves:
        coupling.bind(name, system, Chunked())(system[name].points, Need.VALUE)
    yield holds("", True)


@promise("return new tensors, and keep nothing between calls")
def pure(coupling: Coupling, trial: Trial) -> Found:
    """Measures stay as they were, and the same question gives the same bits, whatever was asked between."""
    system, before = start(coupling, trial), copied(start(coupling, trial))
    first = _answers(coupling, system)
    yield same("measures changed", before, copied(system))
    _answers(coupling, System({name: _unequal(mu, 70) for name, mu in system.measures.items()}))
    yield same("asked again, the answers differ", first, _answers(coupling, system))
    yield same("an equal coupling answers otherwise", first, _answers(rebuilt(coupling), system))


def _answers(coupling: Coupling, system: System) -> dict[str, Tensor]:
    potentials = {name: coupling.bind(name, system, Chunked())(system[name].points, Need.VALUE).value for name in coupling.moves}
    return {"value": coupling.value(system, Chunked()), **potentials}


@promise("answer each need with the same numbers; raise a MeasureflowError where there is no gradient")
def needs_agree(coupling: Coupling, trial: Trial) -> Found:
    """Values and gradients are the same asked for together and apart."""
    system = start(coupling, trial)
    for name in coupling.moves:
        potential, at = coupling.bind(name, system, Chunked()), system[name].points
        try:
            both = potential(at, Need.BOTH)
        except MeasureflowError:
            continue
        yield close(f"value of {name} alone", potential(at, Need.VALUE).value, both.value)
        yield close(f"gradient of {name} alone", potential(at, Need.GRAD).grad, both.grad)


@promise("let Potential.reads say True wherever a call looks at the atoms of that measure")
def reads_of_a_potential(coupling: Coupling, trial: Trial) -> Found:
    """A potential that says it does not read a measure gives the same where that measure's points are overwritten."""
    for name in coupling.moves:
        system = start(coupling, trial)
        potential, at = coupling.bind(name, system, Chunked()), system[name].points.clone()
        first = potential(at, Need.VALUE).value.clone()
        unread = [other for other, mu in system.measures.items() if not potential.reads(mu)]
        for other in unread:
            system[other].points.fill_(float("nan"))
        yield close(f"potential of {name} without {', '.join(unread) or 'nothing'}", potential(at, Need.VALUE).value, first, 0.0)


@promise("look at shapes, at sums over pairs i != j and at divisions by size - 1")
def one_atom_each(coupling: Coupling, trial: Trial) -> Found:
    """With one atom in each measure the potentials are still the first variations."""
    if trial.tables:
        raise InapplicableError("it is tried in an experiment, whose sizes are given")
    system = start(coupling, trial, (1, 0))
    for name in coupling.moves:
        yield from _varied(coupling, name, system)


@promise("make constants with the dtype and device of the points, or use plain numbers")
def float32(coupling: Coupling, trial: Trial) -> Found:
    """In float32 everything stays float32, and finite."""
    system = start(coupling, trial)
    low = System({name: cast(mu, torch.float32) for name, mu in system.measures.items()})
    for name, answer in _answers(coupling, low).items():
        yield holds(f"{name} became {answer.dtype}", answer.dtype == torch.float32)
        yield holds(f"{name} is not finite in float32", bool(answer.isfinite().all()))


@promise("ask the given reducer for every sum over atoms")
def reducers_agree(coupling: Coupling, trial: Trial) -> Found:
    """Sums in other tiles, and by KeOps where asked for, give the same."""
    system = start(coupling, trial)
    others = [Chunked(tile=16), *([KeOps()] if trial.keops else [])]
    for name in coupling.moves:
        at = system[name].points
        wanted = coupling.bind(name, system, Chunked())(at, Need.VALUE).value
        for reducer in others:
            yield close(f"{name} by {reducer.kind}", coupling.bind(name, system, reducer)(at, Need.VALUE).value, wanted)


@promise("return the learned energy's potential, or raise TypeError with the reason why there is none")
def learned_energy(coupling: Coupling, trial: Trial) -> Found:
    """energy is a function on the data's space, or there is none."""
    system = start(coupling, trial)
    try:
        f = coupling.energy(system, Chunked())
    except TypeError as reason:
        raise InapplicableError(str(reason)) from None
    space = trial.experiment.data.space() if trial.tables else trial.space
    at = space.domain.sample(normals(5, space.dim))
    v = space.domain.tangent(at, normals(5, space.dim, seed=1))
    field = f(at, Need.BOTH)
    ends = [f(space.domain.exp(at, e * v), Need.VALUE).value for e in (STEP, -STEP)]
    yield close("its gradient is its slope", (field.grad * v).sum(1), (ends[0] - ends[1]) / (2 * STEP), DIFFERENCE)


@promise("choose with torch.where instead of `if`, and keep numbers as 0-d tensors: .item() and bool() wait for a GPU")
def no_host_synchronisation(coupling: Coupling, trial: Trial) -> Found:
    """Binding and calling a potential reads no number off the device, checked on a GPU."""
    if not torch.cuda.is_available():
        raise InapplicableError("no GPU here")
    system = System({name: cast(mu, device="cuda") for name, mu in start(coupling, trial).measures.items()})
    _answers(coupling, system)  # kernels load at their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        _answers(coupling, system)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    yield "on CUDA"


PROMISES: tuple[Promise, ...] = (
    names_and_spaces,
    first_variation,
    a_functional_of_measures,
    reads_are_declared,
    pure,
    needs_agree,
    reads_of_a_potential,
    one_atom_each,
    float32,
    reducers_agree,
    learned_energy,
    no_host_synchronisation,
)
