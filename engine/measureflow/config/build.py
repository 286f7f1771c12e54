"""From an experiment to its first system and the dynamics that move it."""

import functools
from collections.abc import Sequence
from typing import final

import attrs
import torch

from measureflow import notebook
from measureflow.config.experiment import Experiment
from measureflow.config.memory import device_of, exact, fits, spaces, under
from measureflow.core.domain import Space
from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics.divergence import begins_well, bounds_of
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.flow import marked
from measureflow.errors import ConfigError, MeasureflowError
from measureflow.observe.metric import View
from measureflow.observe.source import Setting, World
from measureflow.parallel.group import Team
from measureflow.plugins.registry import Registry
from measureflow.reduction.reducer import Pick, Reducer, auto
from measureflow.reduction.sharded import Sharded, part

SHARDED = 4096  # atoms from which on a measure is held in parts: fewer cost more to exchange than to hold


@final
@attrs.frozen(eq=False)
class Built:
    """An experiment ready to run: the first system, what moves it, and what metrics look through."""

    system: System
    dynamics: Dynamics
    view: View

    def dealt(self, team: Team, names: Sequence[str] | None) -> "Built":
        """What one process of a team holds: its part of the named measures, by default the large ones, and all of the others.

        Raises MeasureflowError where there are more processes than atoms.
        """
        if team.size == 1:
            return self
        measures = self.system.measures
        chosen = [name for name, mu in measures.items() if mu.size >= SHARDED] if names is None else names
        for name in chosen:
            if measures[name].size < team.size:
                raise MeasureflowError(f"sharded: {name!r} has {measures[name].size} atoms for {team.size} processes; leave it out")
        reducer = Sharded(self.dynamics.reducer, team)
        return Built(
            self.system.replace({name: part(measures[name], team) for name in chosen}),
            attrs.evolve(self.dynamics, reducer=reducer),
            attrs.evolve(self.view, reducer=reducer),
        )

    def __repr__(self) -> str:
        return f"Built({self._rules()}, {self.system!r})"

    def _repr_html_(self) -> str:
        flows = self.dynamics.flows.items()
        rows = [{"measure": name, "flows, in order": ", ".join(flow.kind for flow in each) or "none"} for name, each in flows]
        return notebook.table(self._rules(), rows) + self.system._repr_html_()

    def _rules(self) -> str:
        dynamics, h = self.dynamics, self.dynamics.step_size(self.system.step)
        order = "one after the other" if dynamics.scheme is None else dynamics.scheme.kind
        return f"{dynamics.coupling.kind}, {order}, h = {h:.6g}"


def build(e: Experiment, registry: Registry, where: str = "experiment", pick: Pick | None = None) -> Built:
    """Draws the data and the initial measures, and puts the dynamics together; raises ConfigError.

    `pick` names the reducer of each kind of sum under `reducer = "auto"`, by default as plugins do.
    """
    noise = Keyed(e.seed)
    try:
        world, moving = _drawn(e, noise, device_of(e))
    except MeasureflowError as error:
        raise ConfigError(where, [str(error)]) from None
    flows = {name: player.flows for name, player in e.measures.items()}
    reducer, system = reducer_of(e, registry, pick), System({**world.measures, **moving})
    dynamics = Dynamics(e.coupling, flows, e.step, e.order, reducer, noise, e.in_place)
    dynamics = attrs.evolve(dynamics, bounds=bounds_of(system, dynamics, e.runaway))
    return Built(system, dynamics, View(e.coupling, reducer, noise, world.truth))


def reducer_of(e: Experiment, registry: Registry, pick: Pick | None = None) -> Reducer:
    """The reducer that the experiment names, or the one that is picked, asked once for each kind of request."""
    return e.reducer or auto(functools.cache(pick or registry.pick_reducer))


def _drawn(e: Experiment, noise: Noise, device: torch.device) -> tuple[World, dict[str, Particles]]:
    """The world and the moving measures as they start: drawn on the CPU, then moved, so that every device starts alike."""
    fits(e, device)
    exact(device)
    dtype, homes, cpu = getattr(torch, e.dtype), spaces(e), torch.device("cpu")
    world = e.data.world(Setting(noise.at("data"), dtype, cpu))
    settings = {name: Setting(noise.at("init", name), dtype, cpu) for name in e.measures}
    moving = {name: _start(name, e, homes[name], world, setting).to(device) for name, setting in settings.items()}
    still = {name: mu.to(device) for name, mu in world.measures.items()}
    return attrs.evolve(world, measures=still), moving


def _start(name: str, e: Experiment, space: Space, world: World, setting: Setting) -> Particles:
    player = e.measures[name]
    with under(f"measures.{name}.init"):
        mu = player.init.measure(space, world, setting)
    mu = marked(mu, player.flows, setting.noise)
    mu = mu.replace(marks={**mu.marks, **e.order.marks(mu)})
    if not begins_well(mu):
        raise MeasureflowError(
            f"measures.{name}.init: some of its numbers are not finite in {e.dtype}, or a mass is 0 or over 1e30; start it nearer"
            " to 0, or with dtype = 'float64'"
        )
    return mu
