"""What a coupling promises of its functional: potentials are its first variations, and it depends on measures alone."""

import torch
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.dynamics.coupling import Coupling
from measureflow.errors import MeasureflowError
from measureflow.reduction.chunked import Chunked
from measureflow.testing.families.couplings import start
from measureflow.testing.problems.systems import normals, reordered, split
from measureflow.testing.promise import DIFFERENCE, STEP, Found, InapplicableError, Promise, close, promise
from measureflow.testing.trial import Trial


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
        halves = system.replace({name: split(mu)})
        for what, changed in (("in another order", other), ("split into halves", halves)):
            yield close(f"value with atoms of {name} {what}", coupling.value(changed, Chunked()), value)
            for moved in coupling.moves:
                at = system[moved].points
                one, two = (coupling.bind(moved, each, Chunked())(at, Need.VALUE).value for each in (system, changed))
                yield close(f"potential of {moved} with atoms of {name} {what}", two, one)


@promise("look at shapes, at sums over pairs i != j and at divisions by size - 1")
def one_atom_each(coupling: Coupling, trial: Trial) -> Found:
    """With one atom in each measure the potentials are still the first variations."""
    if trial.tables:
        raise InapplicableError("it is tried in an experiment, whose sizes are given")
    system = start(coupling, trial, (1, 0))
    for name in coupling.moves:
        yield from _varied(coupling, name, system)


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


PROMISES: tuple[Promise, ...] = (
    first_variation,
    a_functional_of_measures,
    one_atom_each,
    learned_energy,
)
