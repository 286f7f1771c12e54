"""What a metric promises, in a small experiment after two steps."""

import math

import attrs
import torch

from measureflow.core.measure import System
from measureflow.observe.metric import Metric, View
from measureflow.testing.problems.common import rebuilt
from measureflow.testing.problems.systems import copied, reordered, split
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.trial import Trial

ROUNDING = 1e-6  # allowed between two orders of the atoms: sums are rounded at 1e-16, iterations stop at about 1e-7


def start(metric: Metric, trial: Trial) -> tuple[System, View]:
    """The measures that the metric says it reads and those of the coupling, and a view with the truth where it reads it."""
    built, system = trial.here()
    there = {*metric.reads, *built.view.coupling.moves, *built.view.coupling.reads}
    missing = sorted({*metric.reads} - {*system.measures})
    if missing:
        raise InapplicableError(f"the trial's experiment has no {', '.join(missing)}; give tables of one that has")
    view = attrs.evolve(built.view, truth=built.view.truth if "teacher" in metric.reads else None)
    return System({name: mu for name, mu in system.measures.items() if name in there}, system.step, system.time), view


def numbers(metric: Metric, system: System, view: View) -> dict[str, float]:
    """What it writes, as floats."""
    return {name: float(value) for name, value in metric.measure(system, view).items()}


@promise("declare in `names` what `measure` returns, the kind itself or kind.part")
def names_are_declared(metric: Metric, trial: Trial) -> Found:
    """It writes the names that it declares, and no others."""
    written = set(numbers(metric, *start(metric, trial)))
    yield holds(f"writes {sorted(written)} and declares {sorted(metric.names)}", written == set(metric.names))
    yield holds("a name is declared twice", len(set(metric.names)) == len(metric.names))


@promise("return 0-d tensors or floats that are finite on a healthy system")
def finite_numbers(metric: Metric, trial: Trial) -> Found:
    """Each value is one finite number."""
    for name, value in metric.measure(*start(metric, trial)).items():
        yield holds(f"{name} is no single number", not isinstance(value, torch.Tensor) or value.ndim == 0)
        yield holds(f"{name} = {float(value)}", math.isfinite(float(value)))


@promise("work on clones: a metric looks and never touches")
def pure(metric: Metric, trial: Trial) -> Found:
    """The system is the same bit for bit after it was measured."""
    system, view = start(metric, trial)
    before = copied(system)
    metric.measure(system, view)
    yield same("measuring changed", before, copied(system))


@promise("draw from view.noise only, and keep nothing between calls")
def same_system_same_numbers(metric: Metric, trial: Trial) -> Found:
    """Measured again, by it or by an equal metric, the numbers are the same and torch's global generator is untouched."""
    system, view = start(metric, trial)
    state = torch.get_rng_state()
    first = numbers(metric, system, view)
    yield holds("torch's global generator was drawn from", torch.equal(state, torch.get_rng_state()))
    numbers(metric, attrs.evolve(system, step=system.step + 1), view)
    for other, what in ((metric, "again"), (rebuilt(metric), "by an equal metric")):
        got = numbers(other, system, view)
        yield holds(f"measured {what}: {_differing(first, got)}", got == first)


def _differing(first: dict[str, float], got: dict[str, float]) -> str:
    return ", ".join(f"{name} {first[name]!r} became {got.get(name)!r}" for name in first if got.get(name) != first[name])


@promise('name in `reads` every measure it looks at, and "teacher" where it looks at the truth')
def reads_are_declared(metric: Metric, trial: Trial) -> Found:
    """It needs no measure besides those it says it reads and those of the coupling."""
    metric.measure(*start(metric, trial))  # a system that has no others
    yield holds("", True)


@promise("weigh atoms by their masses, and let no atom's part depend on its row")
def order_of_atoms(metric: Metric, trial: Trial) -> Found:
    """With the atoms of a measure that it reads in another order, the numbers are the same."""
    system, view = start(metric, trial)
    first = numbers(metric, system, view)
    for name in metric.reads:
        order = torch.arange(system[name].size).roll(3)
        got = numbers(metric, system.replace({name: reordered(system[name], order)}), view)
        for key, value in first.items():
            yield close(f"{key} with {name} in another order", torch.tensor(got[key]), value, ROUNDING)


@promise("weigh atoms by their masses; what depends on their number, such as a standard error, is named by counts")
def a_function_of_measures(metric: Metric, trial: Trial) -> Found:
    """With each atom of a measure that it reads split into two, the numbers are the same."""
    system, view = start(metric, trial)
    first = {name: value for name, value in numbers(metric, system, view).items() if name not in trial.counts}
    if not first:
        raise InapplicableError("all its numbers are said to depend on the number of atoms")
    for name in metric.reads:
        got = numbers(metric, system.replace({name: split(system[name])}), view)
        for key, value in first.items():
            yield close(f"{key} with the atoms of {name} split", torch.tensor(got[key]), value, ROUNDING)


PROMISES: tuple[Promise, ...] = (
    names_are_declared,
    finite_numbers,
    pure,
    same_system_same_numbers,
    reads_are_declared,
    order_of_atoms,
    a_function_of_measures,
)
