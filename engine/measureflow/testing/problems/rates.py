"""What a flow promises of its rate, and of negative atoms."""

from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Particles
from measureflow.core.schedule import Schedule
from measureflow.dynamics.flow import Flow
from measureflow.testing.families.flows import H, after, start
from measureflow.testing.problems.systems import Quadratic, quadratic
from measureflow.testing.promise import Found, InapplicableError, Promise, close, promise
from measureflow.testing.trial import Trial

STEP = 3  # at which a rate that changes is read


@final
@attrs.frozen
class _Climbing(Schedule):
    """1 + step / 4: another value at every step."""

    kind: ClassVar[str] = "climbing"

    def __call__(self, step: int) -> float:
        return 1 + step / 4

    @property
    def range(self) -> tuple[float, float]:
        return (1.0, 2.0)


@promise("multiply h by your own rate at this step, `h = h * self.rate(context.step)`, once, and use no other h")
def rate_scales_the_step(flow: Any, trial: Trial) -> Found:
    """A step of h at rate r is one of r h at rate 1, r its rate at that step."""
    if not isinstance(getattr(flow, "rate", None), Schedule) or flow.pace(0) == 0:
        raise InapplicableError("no rate drives it")
    whole, half, climbing = (attrs.evolve(flow, rate=rate) for rate in (1.0, 0.5, _Climbing()))
    yield from _alike(
        "at half the rate and twice the step", after(half, start(half, trial), 2 * H), after(whole, start(whole, trial))
    )
    late = attrs.evolve(start(whole, trial), step=STEP)
    r = _Climbing()(STEP)
    yield from _alike(f"at step {STEP} of a rate that changes", after(climbing, late), after(whole, late, r * H))


def _alike(when: str, got: Particles, wanted: Particles) -> Found:
    for name, tensor in wanted.tensors.items():
        yield close(f"{name} {when}", got.tensors[name].double(), tensor.double())


@promise("move negative atoms by -V: multiply the gradient and the value by mu.sign, or say signed = False")
def signs_turn_the_potential(flow: Flow, trial: Trial) -> Found:
    """With all signs and the potential turned, every atom moves as before."""
    if not trial.signed:
        raise InapplicableError("it is for positive measures")
    system, V = start(flow, trial), quadratic(trial.space.dim)
    mu = system["mu"]
    turned = system.replace({"mu": mu.replace(sign=-mu.sign)})
    one, other = after(flow, system, potential=V), after(flow, turned, potential=Quadratic(-V.A, -V.b, -V.c))
    for name in ("points", "log_mass"):
        yield close(name, _part(other, name), _part(one, name))


def _part(mu: Particles, name: str) -> Tensor:
    return mu.tensors[name].to(torch.float64)


PROMISES: tuple[Promise, ...] = (rate_scales_the_step, signs_turn_the_potential)
