"""Snapshots: where the atoms were, at a few steps and never along the whole path."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal, final

import attrs
import numpy as np
import torch

from measureflow.config import structure as config
from measureflow.core.measure import Particles, System
from measureflow.core.schedule import MANY, within
from measureflow.observe.observer import Looks, Observer, Row, See, Shows, Stage
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Reducer
from measureflow.reduction.sharded import Sharded
from measureflow.run.atomic import make
from measureflow.run.checkpoint.safetensors_file import save_tensors

FOLDER = "snapshots"
STILL = "still.safetensors"  # the measures that never move, once


@final
@attrs.frozen
class Snapshots(Observer):
    """Saves at most `atoms` atoms of every measure at about `count` steps, the first and the last among them.

    `spacing`: "quadratic" puts the k-th step at a distance of k^2 from the start, close together at first and wider later; "log"
    spaces the steps evenly in log(step), "linear" evenly; `at` names further steps. The atoms are spread evenly over the rows
    and are the same throughout, as long as the run's last step is. All snapshots together take at most `megabytes`, shared
    evenly: a measure that needs less than its share leaves the rest to the others, one that needs more keeps fewer atoms.
    """

    kind: ClassVar[str] = "snapshots"
    shows: ClassVar[Shows] = "parts"
    count: int = attrs.field(default=40, validator=within(2, MANY))
    atoms: int = attrs.field(default=2000, validator=within(1))
    spacing: Literal["quadratic", "log", "linear"] = "quadratic"
    at: tuple[int, ...] = ()
    megabytes: float = attrs.field(default=50.0, validator=within(0.0, open_low=True))

    def steps(self, last: int) -> frozenset[int]:
        """The steps at which a run of `last` steps is saved."""
        if self.spacing == "log":
            spaced = np.geomspace(1, max(last, 1), self.count - 1)
        else:
            spaced = last * np.linspace(0, 1, self.count) ** (2 if self.spacing == "quadratic" else 1)
        return frozenset(step for step in (0, last, *self.at, *map(int, spaced.round())) if 0 <= step <= last)

    def looks(self, last: int) -> Looks:
        due = self.steps(last)
        return lambda step: step in due

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        due, folder = self.steps(stage.steps), stage.folder / FOLDER
        stage.team.led(lambda: _made(folder))

        def see(system: System, row: Row) -> None:
            if system.step not in due:
                return
            kept = self._kept(system, stage, len(due))
            if stage.team.led(lambda: str((folder / STILL).exists())) == "False":
                _save(folder / STILL, set(system.measures) - set(stage.moving), system, stage, kept)
            _save(folder / f"step-{system.step:09d}.safetensors", stage.moving, system, stage, kept)

        yield see

    def _kept(self, system: System, stage: Stage, times: int) -> dict[str, int]:
        """How many atoms of each measure are kept: what its size, its width and its share of the budget allow."""
        atom = {
            name: (mu.dim + 2) * mu.points.element_size() * (times if name in stage.moving else 1)
            for name, mu in system.measures.items()
        }
        wanted = {name: min(self.atoms, mu.whole) * atom[name] for name, mu in system.measures.items()}
        return {name: max(1, int(share / atom[name])) for name, share in shares(wanted, self.megabytes * 1e6).items()}


def shares(wanted: Mapping[str, float], budget: float) -> dict[str, float]:
    """Equal shares of a budget, where what one does not want is left to the others."""
    given: dict[str, float] = {}
    for name in sorted(wanted, key=lambda name: wanted[name]):
        given[name] = min(wanted[name], (budget - sum(given.values())) / (len(wanted) - len(given)))
    return given


def _made(folder: Path) -> str:
    make(folder)
    return str(folder)


def _save(path: Path, names: Collection[str], system: System, stage: Stage, kept: Mapping[str, int]) -> None:
    """Writes at most `kept` atoms of each of the named measures, of which each process may hold a part."""
    tensors, facts = {}, {}
    for name in [name for name in system.measures if name in names]:
        mu = system[name].replace(marks={})
        tensors |= {f"{name}.{part}": tensor for part, tensor in _sample(mu, kept[name], Sharded(Chunked(), stage.team)).items()}
        facts[name] = {"domain": config.unstructure(mu.domain), "whole": mu.whole}
    if stage.team.leads:
        save_tensors(path, tensors, {"step": str(system.step), "time": repr(system.time), "measures": json.dumps(facts)})


def _sample(mu: Particles, kept: int, reducer: Reducer) -> dict[str, torch.Tensor]:
    """`kept` atoms at most, spread evenly over the rows."""
    rows = torch.linspace(0, mu.whole - 1, kept, device=mu.points.device, dtype=torch.float64).round().long()
    chosen = reducer.whole(mu) if mu.whole <= kept else reducer.take(mu, rows)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in chosen.tensors.items()}
