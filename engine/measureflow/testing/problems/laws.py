"""What a flow promises of where it leads: the order of atoms, energy, masses, the order in the step size."""

import math

import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Keyed
from measureflow.dynamics.flow import Flow, marked
from measureflow.testing.families.flows import DATA, after, draws, start
from measureflow.testing.families.noises import Reordered
from measureflow.testing.problems.linear import law
from measureflow.testing.problems.systems import Quadratic, normals, reordered
from measureflow.testing.promise import TOLERANCE, Found, InapplicableError, Promise, close, promise
from measureflow.testing.report import Gap
from measureflow.testing.trial import Trial

SMALL = 1e-4  # a step in which second-order terms are a hundredth of first-order ones
ORDER = 0.2  # allowed of an observed order: at steps of 1/16 and finer the next order is a tenth of it
STEPS = (1 / 16, 1 / 32, 1 / 64)


@promise("let no atom's move depend on its row; rows that count modulo the data's, as copies of data points do, may")
def order_of_atoms(flow: Flow, trial: Trial) -> Found:
    """Atoms in another order, with their noise, move as they moved before."""
    system = start(flow, trial)
    mu, order = system["mu"], permutation(system["mu"].size)
    if any(rows.stop - rows.start not in (mu.size, mu.size // 2) for rows in draws(flow, system)):
        raise InapplicableError("it draws numbers that belong to no atom")
    moved = after(flow, system)
    other = after(flow, system.replace({"mu": reordered(mu, order)}), noise=Reordered(Keyed(0), order))
    for name, tensor in moved.tensors.items():
        yield close(name, other.tensors[name].double(), tensor[order].double())


def permutation(size: int) -> Tensor:
    """An order that keeps each row's residue modulo the data's size, and pairs i with i + size / 2 as before."""
    half = size // 2
    blocks = half // DATA
    rows = torch.arange(half).view(blocks, DATA)
    turned = torch.stack([rows[:, r].roll(1 + r % max(blocks - 1, 1)) for r in range(DATA)], 1).reshape(-1)
    return torch.cat([turned, turned + half])


@promise("a descent: points move along -sign grad V, log masses by -sign V; check the signs")
def energy_falls(flow: Flow, trial: Trial) -> Found:
    """Of a deterministic pointwise flow of a positive measure, the energy in a potential >= 0 or its mean does not grow."""
    system = start(flow, trial)
    if not flow.pointwise or draws(flow, system):
        raise InapplicableError("pointwise = False" if not flow.pointwise else "it draws noise")
    mu = system["mu"].replace(sign=torch.ones(system["mu"].size, dtype=torch.float64), marks={})
    mu = marked(mu, (flow,), Keyed(0))
    V = bowl(trial.space.dim)
    moved = after(flow, system.replace({"mu": mu}), SMALL, V)
    grown = float(_energy(V, moved) - _energy(V, mu))
    mean = float(_energy(V, moved) / moved.total - _energy(V, mu) / mu.total)  # rescaling all masses is no ascent
    yield Gap("the energy grew", min(grown, mean), TOLERANCE * float(_energy(V, mu)))
    yield f"energy changes by {grown / SMALL + 0.0:.3g} h"


def bowl(d: int) -> Quadratic:
    """V(x) = <x - c, A (x - c)> / 2, which is nowhere negative, so that taking mass away lowers the energy."""
    root, c = normals(d, d, seed=11), normals(d, seed=12)
    A = root @ root.T / d + 0.1 * torch.eye(d, dtype=torch.float64)
    return Quadratic(A, -A @ c, float(0.5 * c @ A @ c))


def _energy(V: Quadratic, mu: Particles) -> Tensor:
    return (mu.mass * V(mu.points, Need.VALUE).value).sum()


@promise("normalise by the masses before and after the step, or do not say that they are kept")
def masses(flow: Flow, trial: Trial) -> Found:
    """What the flow is said to keep of the masses it keeps, and the total variation stays within its bound."""
    system = start(flow, trial)
    mu, moved = system["mu"], after(flow, system)
    changes = {
        "masses": (moved.mass, mu.mass),
        "tv": (moved.mass.abs().sum(), mu.mass.abs().sum()),
        "mass": (moved.total, mu.total),
    }
    if trial.keeps:
        yield close(f"{trial.keeps} is not kept", *changes[trial.keeps])
    if trial.tv is not None:
        yield Gap("total variation beyond its bound", float(changes["tv"][0]) - trial.tv, TOLERANCE * trial.tv)
    kept = [name for name, pair in changes.items() if close(name, *pair).kept]
    yield f"keeps {kept[0]}" if kept else "changes masses"


@promise("look at factors of h and of its root: a wrong one is of order 0, a one-sided splitting of order 1")
def weak_order(flow: Flow, trial: Trial) -> Found:
    """Under a linear force, mean and variance at time 1 converge at the order it claims, at least."""
    if trial.order is None:
        raise InapplicableError("no order is claimed (order = 1, say)")
    line = trial.registry.get("domain", "euclidean")()
    coarse, middle, fine = (law(flow, line, h, round(1 / h)) for h in STEPS)
    for name, one, two, three in zip(("mean", "variance"), coarse, middle, fine, strict=True):
        seen = math.log2(abs(one - two) / abs(two - three)) if two != three else math.inf
        yield Gap(f"the {name} converges at order {seen:.2f} where {trial.order} is claimed", trial.order - seen, ORDER)
        yield f"{name} at order {seen:.2f}"


PROMISES: tuple[Promise, ...] = (order_of_atoms, energy_falls, masses, weak_order)
