"""What a coupling promises: potentials that are first variations of a functional of measures."""

import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.dynamics.coupling import Coupling
from measureflow.errors import MeasureflowError
from measureflow.reduction.chunked import Chunked
from measureflow.testing.problems.common import rebuilt
from measureflow.testing.problems.systems import cast, copied, measure, normals
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.trial import Trial

SIZE = 12


def start(coupling: Coupling, trial: Trial, sizes: tuple[int, int] = (SIZE, 3)) -> System:
    """A random measure of each name that the coupling moves or reads; those of the trial's experiment where it has one."""
    names = [*coupling.moves, *coupling.reads]
    if trial.tables:
        system = trial.built(coupling=coupling).system
        return System({name: unequal(system[name], 20 * i) for i, name in enumerate(names)})
    where = coupling.spaces(trial.space)
    first, more = sizes
    return System({name: measure(where.get(name, trial.space), first + more * i, 20 * i) for i, name in enumerate(names)})


def unequal(mu: Particles, seed: int) -> Particles:
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
    first = answers(coupling, system)
    yield same("measures changed", before, copied(system))
    answers(coupling, System({name: unequal(mu, 70) for name, mu in system.measures.items()}))
    yield same("asked again, the answers differ", first, answers(coupling, system))
    yield same("an equal coupling answers otherwise", first, answers(rebuilt(coupling), system))


def answers(coupling: Coupling, system: System) -> dict[str, Tensor]:
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


@promise("make constants with the dtype and device of the points, or use plain numbers")
def float32(coupling: Coupling, trial: Trial) -> Found:
    """In float32 everything stays float32, and finite."""
    system = start(coupling, trial)
    low = System({name: cast(mu, torch.float32) for name, mu in system.measures.items()})
    for name, answer in answers(coupling, low).items():
        yield holds(f"{name} became {answer.dtype}", answer.dtype == torch.float32)
        yield holds(f"{name} is not finite in float32", bool(answer.isfinite().all()))


@promise("ask the given reducer for every sum over atoms")
def reducers_agree(coupling: Coupling, trial: Trial) -> Found:
    """Sums in other tiles, and by KeOps where asked for, give the same."""
    system = start(coupling, trial)
    others = [Chunked(tile=16), *([trial.registry.get("reducer", "keops")()] if trial.keops else [])]
    for name in coupling.moves:
        at = system[name].points
        wanted = coupling.bind(name, system, Chunked())(at, Need.VALUE).value
        for reducer in others:
            try:
                got = coupling.bind(name, system, reducer)(at, Need.VALUE).value
            except MeasureflowError as error:  # KeOps takes no torch function
                yield f"{reducer.kind} refuses: {error}"
                continue
            yield close(f"{name} by {reducer.kind}", got, wanted)


@promise("choose with torch.where instead of `if`, and keep numbers as 0-d tensors: .item() and bool() wait for a GPU")
def no_host_synchronisation(coupling: Coupling, trial: Trial) -> Found:
    """Binding and calling a potential reads no number off the device, checked on a GPU."""
    if not torch.cuda.is_available():
        raise InapplicableError("no GPU here")
    system = System({name: cast(mu, device="cuda") for name, mu in start(coupling, trial).measures.items()})
    answers(coupling, system)  # kernels load at their first use
    torch.cuda.set_sync_debug_mode("error")
    try:
        answers(coupling, system)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    yield "on CUDA"


PROMISES: tuple[Promise, ...] = (
    names_and_spaces,
    reads_are_declared,
    pure,
    needs_agree,
    reads_of_a_potential,
    float32,
    reducers_agree,
    no_host_synchronisation,
)
