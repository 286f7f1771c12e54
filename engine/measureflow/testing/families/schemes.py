"""What a scheme promises of one step of a few measures."""

from typing import ClassVar, final

import attrs
import torch

from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed
from measureflow.dynamics.blocks import ROWS
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import Context, Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.dynamics.simulate import apply_flows
from measureflow.testing.families.noises import Watched
from measureflow.testing.problems.common import rebuilt
from measureflow.testing.problems.probes import COUNT, CountingScheme, around
from measureflow.testing.problems.systems import Alone, copied, measure, quadratic
from measureflow.testing.promise import Found, InapplicableError, Promise, close, holds, promise, same
from measureflow.testing.report import Gap
from measureflow.testing.trial import Trial

H = 0.01
RATIO = 2.5  # by which a difference of second order must shrink, at least, where h is halved: 4, less third-order terms
NOTHING = 1e-10  # of two steps: the same


def turns(scheme: Scheme, dynamics: Dynamics, system: System, h: float) -> System:
    """As many steps as there are players, after which everybody has had a turn whatever the scheme."""
    for _ in dynamics.flows:
        system = scheme.advance(system, dynamics, h).tick(h)
    return system


def start(scheme: Scheme, trial: Trial) -> tuple[Dynamics, System]:
    """The dynamics of the trial, and its first system with the scheme's marks."""
    built = trial.built(order=scheme)
    return built.dynamics, built.system


@promise("return a new system, and take `mu.replace` for every change")
def pure(scheme: Scheme, trial: Trial) -> Found:
    """A step changes nothing of the system it is given."""
    dynamics, system = start(scheme, trial)
    before = copied(system)
    scheme.advance(system, dynamics, H)
    yield same("the step changed what it was given", before, copied(system))


@promise("keep what must be remembered in the atoms' marks")
def no_hidden_state(scheme: Scheme, trial: Trial) -> Found:
    """The same step gives the same bits, whatever was stepped before, and torch's global generator is untouched."""
    dynamics, system = start(scheme, trial)
    state = torch.get_rng_state()
    following = scheme.advance(system, dynamics, H)
    scheme.advance(following, dynamics, 0.3)
    again, equal = scheme.advance(system, dynamics, H), rebuilt(scheme).advance(system, dynamics, H)
    yield same("the same step again differs", copied(following), copied(again))
    yield same("an equal scheme steps otherwise", copied(following), copied(equal))
    yield holds("torch's global generator was drawn from", torch.equal(state, torch.get_rng_state()))


@promise("scale every move by h")
def zero_step_is_the_identity(scheme: Scheme, trial: Trial) -> Found:
    """With h = 0 points and masses stay."""
    dynamics, system = start(scheme, trial)
    still = scheme.advance(system, dynamics, 0.0)
    for name in dynamics.flows:
        yield close(f"points of {name}", still[name].points, system[name].points, 1e-12)
        yield close(f"masses of {name}", still[name].log_mass, system[name].log_mass, 1e-12)


@promise("replace the measures of dynamics.flows in the system and leave its clock to the engine")
def only_players_move(scheme: Scheme, trial: Trial) -> Found:
    """In as many steps as there are players each of them moves, all others stand still, and the clock is not touched."""
    dynamics, system = start(scheme, trial)
    once = scheme.advance(system, dynamics, H)
    yield holds("measures were lost or added", once.measures.keys() == system.measures.keys())
    yield holds("the clock was changed", (once.step, once.time) == (system.step, system.time))
    following = turns(scheme, dynamics, system, H)
    for name in system.measures:
        one, other = system[name].tensors, following[name].tensors
        if name in dynamics.flows:
            yield holds(f"{name} did not move", not all(torch.equal(one[part], other[part]) for part in ("points", "log_mass")))
        else:
            yield same(f"{name} moved", one, other)


@promise("let `marks(mu)` name the marks that `advance` writes, with their shapes, and lose no others")
def marks_are_declared(scheme: Scheme, trial: Trial) -> Found:
    """Marks are those it started with, of the same shapes."""
    dynamics, system = start(scheme, trial)
    following = scheme.advance(system, dynamics, H)
    for name in dynamics.flows:
        one, other = system[name].marks, following[name].marks
        yield holds(f"marks of {name} lost or added: {sorted(one.keys() ^ other.keys())}", one.keys() == other.keys())
        yield holds(f"marks of {name} changed shape", all(one[k].shape == other[k].shape for k in one.keys() & other.keys()))


@promise("every measure must move by its own field times h, once a step: look for factors and for moves taken twice")
def first_order(scheme: Scheme, trial: Trial) -> Found:
    """As many steps as there are players agree, to first order in h, with as many in which everybody moves at once."""
    dynamics, system = start(scheme, trial)
    noise = Watched(Keyed(0))
    scheme.advance(system, attrs.evolve(dynamics, noise=noise), H)
    if noise.asked:
        raise InapplicableError("it draws noise: a step is right in the mean only")
    coarse, fine = (_apart(scheme, dynamics, system, h) for h in (H, H / 2))
    if coarse > NOTHING:
        yield Gap("half the step is nearer by a factor, whose inverse is", fine / coarse, 1 / RATIO)


def _apart(scheme: Scheme, dynamics: Dynamics, system: System, h: float) -> float:
    """Largest distance from where every player would be that walks by itself, and reads the others as they were."""
    following, walked = turns(scheme, dynamics, system, h), system
    for _ in dynamics.flows:
        walked = walked.replace({name: apply_flows(dynamics, name, walked, h) for name in dynamics.flows}).tick(h)
    parts = [
        (following[name].tensors[part], walked[name].tensors[part]) for name in dynamics.flows for part in ("points", "log_mass")
    ]
    return max(float((one - other).abs().max()) for one, other in parts)


@promise("say in_place = True only where nobody looks at a measure as it was once it has moved")
def in_place_is_true(scheme: Scheme, trial: Trial) -> Found:
    """In place, a large measure moves as it does otherwise."""
    if not scheme.in_place:
        raise InapplicableError("in_place = False")
    space = trial.experiment.data.space()
    wasserstein = trial.registry.get("flow", "wasserstein")()
    whole, system = start(scheme, trial)
    dynamics = Dynamics(Alone(quadratic(space.dim)), {"mu": (wasserstein,)}, 1.0, reducer=whole.reducer)
    mu = measure(space, ROWS["cpu"] + 1)
    plain = scheme.advance(system.replace({"mu": mu}), dynamics, H)["mu"].points
    given = system.replace({"mu": mu.replace(points=mu.points.clone())})
    yield close("points", scheme.advance(given, attrs.evolve(dynamics, in_place=True), H)["mu"].points, plain, 0.0)


@promise("subclass WrappedScheme, which forwards them; extend what it gives, as in `yield from super().objections(players)`")
def wrapped_scheme_is_kept(scheme: Scheme, trial: Trial) -> Found:
    """A scheme that plays another one has its marks, its objections, and is in place only if that one is."""
    for wrapper in around(scheme, Scheme, CountingScheme):
        dynamics, system = start(wrapper, trial)
        following = wrapper.advance(system, dynamics, H)
        for name in dynamics.flows:
            yield holds(f"{name} starts without the marks of the scheme it plays", COUNT in system[name].marks)
            yield holds(f"{name} loses the marks of the scheme it plays", COUNT in following[name].marks)
        objections = tuple(wrapper.objections(dynamics.flows))
        yield holds("it keeps the objections of the scheme it plays to itself", CountingScheme.OBJECTION in objections)
        yield holds("it is in place, and the scheme that it plays is not", not wrapper.in_place)


@promise("give each walk of a step noise of its own: `attrs.evolve(dynamics, noise=dynamics.noise.at(...))`")
def draws_have_names(scheme: Scheme, trial: Trial) -> Found:
    """No two draws of a step have one name, which would make them the same numbers."""
    dynamics, system = start(scheme, trial)
    flows = {name: (Drawing(),) for name in dynamics.flows}
    objections = [*scheme.objections(flows)]
    if objections:
        raise InapplicableError(f"it takes no flow that draws: {objections[0]}")
    noise = Watched(Keyed(0))
    scheme.advance(system, attrs.evolve(dynamics, flows=flows, noise=noise), H)
    twice = sorted({name for name in noise.names if noise.names.count(name) > 1})
    yield holds(f"drawn twice under {', '.join(twice)}", not twice)


@promise("go through dynamics.flows, however many there are")
def three_players(scheme: Scheme, trial: Trial) -> Found:
    """Of three measures each one moves."""
    dynamics, system = start(scheme, trial)
    space, flow = trial.experiment.data.space(), trial.registry.get("flow", "wasserstein")()
    moving = {name: measure(space, 6 + i, i) for i, name in enumerate(("first", "second", "third"))}
    moving = {name: mu.replace(marks=scheme.marks(mu)) for name, mu in moving.items()}
    flows = dict.fromkeys(moving, (flow,))
    three = attrs.evolve(dynamics, flows=flows, coupling=Alone(quadratic(space.dim)))
    following = turns(scheme, three, system.replace(moving), H)
    for name, mu in moving.items():
        yield holds(f"the {name} of three did not move", not torch.equal(mu.points, following[name].points))


@final
@attrs.frozen
class Drawing(Flow):
    """A flow that moves by its noise alone."""

    kind: ClassVar[str] = "drawing"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return mu.replace(points=mu.domain.retract(mu.points, h * mu.domain.tangent(mu.points, context.noise.normal(mu))))


PROMISES: tuple[Promise, ...] = (
    pure,
    no_hidden_state,
    zero_step_is_the_identity,
    only_players_move,
    marks_are_declared,
    first_order,
    in_place_is_true,
    wrapped_scheme_is_kept,
    draws_have_names,
    three_players,
)
