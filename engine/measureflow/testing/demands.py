"""What a flow promises of what it asks: of its potential, of other measures, of the device, of the other atoms."""

from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Field, Need, System
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Flow
from measureflow.errors import MeasureflowError
from measureflow.testing.families.flows import after, start
from measureflow.testing.families.noises import Blank
from measureflow.testing.problems.systems import Quadratic, cast, quadratic
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise
from measureflow.testing.trial import Trial

HEAVIER = 7.0  # of log masses: a bound on masses that is not met by the light measure is by the heavy one


@promise("set local = False, or let each atom's move depend on that atom and the potential only")
def local_is_true(flow: Flow, trial: Trial) -> Found:
    """A local flow moves blocks of a measure as it moves the whole."""
    if not flow.local:
        raise InapplicableError("local = False")
    system = start(flow, trial)
    mu, whole = system["mu"], after(flow, system)
    blocks = [after(flow, system.replace({"mu": mu.block(*span)})).tensors for span in ((0, 10), (10, mu.size))]
    for name, tensor in whole.tensors.items():
        yield close(name, torch.cat([block[name] for block in blocks]).double(), tensor.double())


@promise("ask potential(points, Need.VALUE) or Need.GRAD where the other is not used: each costs a reduction")
def asks_what_it_needs(flow: Flow, trial: Trial) -> Found:
    """What is asked of the potential is used, for light measures or for heavy ones."""
    light, told = start(flow, trial), set[Need]()
    heavy = light.replace({"mu": light["mu"].replace(log_mass=light["mu"].log_mass + HEAVIER)})
    after(flow, light, potential=_Told(quadratic(trial.space.dim), told))
    for part in Need.VALUE, Need.GRAD:
        if part in told:
            yield holds(f"{part.name} was asked for and not used", any(_uses(part, flow, system) for system in (light, heavy)))


def _uses(part: Need, flow: Flow, system: System) -> bool:
    """Whether a step is another where a part of the potential is NaN."""
    V = quadratic(system["mu"].dim)
    plain, spoilt = (after(flow, system, potential=_Told(V, set(), nan)).tensors for nan in (None, part))
    return any(not _equal(spoilt[name], tensor) for name, tensor in plain.items())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


@final
@attrs.frozen(eq=False)
class _Told(Potential):
    """A potential that notes what it is asked for, and gives NaN for one part of it."""

    potential: Potential
    told: set[Need]
    spoilt: Need | None = None

    def __call__(self, at: Tensor, need: Need) -> Field:
        self.told.update(part for part in (Need.VALUE, Need.GRAD) if part in need)
        field = self.potential(at, need)
        nan = float("nan")
        return Field(
            field.maybe_value if field.maybe_value is None or self.spoilt != Need.VALUE else field.maybe_value * nan,
            field.maybe_grad if field.maybe_grad is None or self.spoilt != Need.GRAD else field.maybe_grad * nan,
        )


@promise("name in `reads` every measure that context.take is used on")
def reads_are_declared(flow: Flow, trial: Trial) -> Found:
    """It looks at no measure besides its own and those it says it reads."""
    after(flow, start(flow, trial))  # a system that has no others
    yield holds("", True)


@promise("shapes such as (1,) must not broadcast: keep the row axis")
def one_atom(flow: Flow, trial: Trial) -> Found:
    """A measure of one atom moves, or is refused by a message."""
    try:
        moved = after(flow, start(flow, trial, 1))
    except MeasureflowError as error:
        raise InapplicableError(f"refused: {error}") from None
    yield holds("one atom became another shape", moved.points.shape == (1, trial.space.dim))
    yield holds("one atom became NaN", bool(moved.points.isfinite().all()))


@promise("choose with torch.where instead of `if`, and keep numbers as 0-d tensors: .item() and bool() wait for a GPU")
def no_host_synchronisation(flow: Flow, trial: Trial) -> Found:
    """A step reads no number off the device: it works on tensors that hold none, and on a GPU without waiting."""
    system, V = start(flow, trial), quadratic(trial.space.dim)
    meta = System({name: cast(mu, device="meta") for name, mu in system.measures.items()})
    after(flow, meta, potential=Quadratic(V.A.to("meta"), V.b.to("meta")), noise=Blank())
    yield "on the meta device"
    if torch.cuda.is_available():
        there = System({name: cast(mu, device="cuda") for name, mu in system.measures.items()})
        potential = Quadratic(V.A.cuda(), V.b.cuda())
        after(flow, there, potential=potential)  # kernels load at their first use
        torch.cuda.set_sync_debug_mode("error")
        try:
            after(flow, there, potential=potential)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        yield "on CUDA"


PROMISES: tuple[Promise, ...] = (
    local_is_true,
    asks_what_it_needs,
    reads_are_declared,
    one_atom,
    no_host_synchronisation,
)
