"""What a flow promises of one step: nothing else changes, and nothing else decides it."""

from typing import Any, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.measure import Field, Need, Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.core.schedule import Schedule
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Flow, marked
from measureflow.dynamics.simulate import apply_flows
from measureflow.testing.families.noises import Watched
from measureflow.testing.problems.common import rebuilt
from measureflow.testing.problems.probes import COUNT, CountingFlow, around
from measureflow.testing.problems.systems import Alone, cast, copied, measure, quadratic
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.trial import Trial

H = 0.01
SIZE, DATA = 24, 4  # walkers are copies of the data: the one is a multiple of the other


def start(flow: Flow, trial: Trial, size: int = SIZE, seed: int = 0) -> System:
    """A random measure "mu" with its marks, and one of each name that the flow reads."""
    mu = marked(measure(trial.space, size, seed, trial.signed), (flow,), Keyed(0))
    home = Space(mu.domain, mu.dim)
    return System({"mu": mu, **{name: measure(home, DATA, 9 + i) for i, name in enumerate(flow.reads) if name != "mu"}})


def after(flow: Flow, system: System, h: float = H, potential: Potential | None = None, noise: Noise | None = None) -> Particles:
    """The measure after one step as the engine takes it."""
    dynamics = Dynamics(Alone(potential or quadratic(system["mu"].dim)), {"mu": (flow,)}, 1.0, noise=noise or Keyed(0))
    return apply_flows(dynamics, "mu", system, h)


@promise("set `local` and `pointwise` of the class to True or False")
def says_what_it_is(flow: Flow, trial: Trial) -> Found:
    """local and pointwise are stated, once and pace are of the right type."""
    for name in ("local", "pointwise", "once"):
        yield holds(f"{name} is not True or False", isinstance(getattr(flow, name, None), bool))
    yield holds("pace is not a number", isinstance(flow.pace(0), int | float))


@promise("return a new measure, `mu.replace(...)`, and work on clones of what you change")
def pure(flow: Flow, trial: Trial) -> Found:
    """A step changes nothing in place: not the measure, not its marks, not what the flow reads."""
    system = start(flow, trial)
    before = copied(system)
    after(flow, system)
    yield same("the step changed what it was given", before, copied(system))


@promise("draw from context.noise only, with a different `draw` name for each draw")
def same_seed_same_result(flow: Flow, trial: Trial) -> Found:
    """The same step taken by two equal flows from the same noise gives the same bits."""
    system = start(flow, trial)
    one, other = (after(rebuilt(flow), system).tensors for _ in range(2))
    yield same("the second step differs", one, other)


@promise("use context.noise instead of torch.randn and its like")
def own_noise_only(flow: Flow, trial: Trial) -> Found:
    """torch's global generator is not used."""
    system, state = start(flow, trial), torch.get_rng_state()
    after(flow, system)
    yield holds("torch's global generator was drawn from", torch.equal(state, torch.get_rng_state()))


@promise("give each draw of a step a name of its own, noise.normal(mu, 'kick') and noise.normal(mu, 'drift'): one name is one draw")
def draws_have_names(flow: Flow, trial: Trial) -> Found:
    """No two draws of a step have one name, which would make them the same numbers."""
    noise = Watched(Keyed(0))
    after(flow, start(flow, trial), noise=noise)
    twice = sorted({name for name in noise.names if noise.names.count(name) > 1})
    yield holds(f"drawn twice under {', '.join(twice)}", not twice)


@promise("multiply h by your own rate, `h * self.rate(context.step)`")
def rate_0_is_the_identity(flow: Any, trial: Trial) -> Found:
    """With its rate at 0 nothing moves."""
    if not isinstance(getattr(flow, "rate", None), Schedule) or flow.pace(0) == 0:
        raise InapplicableError("no rate drives it")
    still = attrs.evolve(flow, rate=0.0)
    if still.once:
        raise InapplicableError("it acts once a step, whatever its rate")
    system = start(still, trial)
    moved = after(still, system).tensors
    for name, tensor in system["mu"].tensors.items():
        yield close(name, moved[name].double(), tensor.double(), 1e-12)


@promise("keep what belongs to an atom in mu.marks, and nothing in the flow, its class or its module")
def no_hidden_state(flow: Flow, trial: Trial) -> Found:
    """A step does not depend on the steps taken before it."""
    system, other = start(flow, trial), start(flow, trial, seed=50)
    first = after(flow, system).tensors
    yield same("the same step again differs", first, after(flow, system).tensors)
    after(flow, other, 0.3)
    yield same("the step differs once another state was stepped", first, after(flow, system).tensors)


@promise("multiply every move by h, also noise (by its square root) and jumps")
def zero_step_is_the_identity(flow: Flow, trial: Trial) -> Found:
    """With h = 0 nothing moves."""
    for step in (0, 3):
        system = attrs.evolve(start(flow, trial), step=step)
        still = after(flow, system, 0.0).tensors
        for name, tensor in system["mu"].tensors.items():
            yield close(f"{name} at step {step}", still[name].double(), tensor.double(), 1e-12)


@promise("end with mu.domain's retract or exp")
def domain_kept(flow: Flow, trial: Trial) -> Found:
    """Atoms stay on the domain, and finite."""
    moved = after(flow, start(flow, trial))
    yield close("atoms off the domain", trial.space.domain.distance_to(moved.points), 0)
    yield holds("a number is not finite", all(bool(t.isfinite().all()) for t in (moved.points, moved.log_mass)))


@promise("build the result by mu.replace, which keeps what is not named")
def shape_kept(flow: Flow, trial: Trial) -> Found:
    """The number of atoms, their signs, the names and shapes of the marks and every dtype stay."""
    mu = start(flow, trial)["mu"]
    moved = after(flow, start(flow, trial))
    yield holds(f"{mu.size} atoms became {moved.size}", moved.size == mu.size)
    yield holds("signs changed in a small step", moved.size != mu.size or torch.equal(moved.sign, mu.sign))
    missing = sorted(mu.marks.keys() ^ moved.marks.keys())
    yield holds(f"marks lost or added: {', '.join(missing)}", not missing)
    for name in mu.tensors.keys() & moved.tensors.keys():
        one, other = mu.tensors[name], moved.tensors[name]
        yield holds(f"{name} became {other.dtype} {tuple(other.shape)}", (one.dtype, one.shape) == (other.dtype, other.shape))
    low = after(flow, System({name: cast(nu, torch.float32) for name, nu in start(flow, trial).measures.items()}), potential=_Low())
    yield holds(f"points in float32 became {low.points.dtype}", low.points.dtype == low.log_mass.dtype == torch.float32)


@final
@attrs.frozen
class _Low(Potential):
    """|x|^2 / 2 in the dtype of x."""

    def __call__(self, at: Tensor, need: Need) -> Field:
        return Field(0.5 * at.square().sum(1) if Need.VALUE in need else None, at if Need.GRAD in need else None)


@promise("subclass WrappedFlow, which forwards them; extend what it gives, as in `{**super().marks(mu, noise), ...}`")
def wrapped_flow_is_kept(flow: Flow, trial: Trial) -> Found:
    """A flow that moves by another one has its marks, and reads what that one reads."""
    for wrapper in around(flow, Flow, CountingFlow):
        yield holds("it does not read what the flow that it moves by reads", COUNT in wrapper.reads)
        system = start(wrapper, trial)
        yield holds("a measure starts without the marks of the flow that it moves by", COUNT in system["mu"].marks)
        yield holds("it loses the marks of the flow that it moves by", COUNT in after(wrapper, system).marks)


def draws(flow: Flow, system: System) -> list[range]:
    """The rows for which a step draws noise."""
    noise = Watched(Keyed(0))
    after(flow, system, noise=noise)
    return noise.asked


PROMISES: tuple[Promise, ...] = (
    says_what_it_is,
    pure,
    same_seed_same_result,
    own_noise_only,
    draws_have_names,
    rate_0_is_the_identity,
    no_hidden_state,
    zero_step_is_the_identity,
    domain_kept,
    shape_kept,
    wrapped_flow_is_kept,
)
