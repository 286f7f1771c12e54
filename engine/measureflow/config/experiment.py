"""An experiment: what a TOML file says."""

from collections.abc import Mapping
from typing import Any, Literal, final

import attrs

from measureflow import notebook
from measureflow.config import structure as config
from measureflow.core.schedule import LARGEST, LONGEST, Schedule, as_schedule, within
from measureflow.dynamics.coupling import Coupling
from measureflow.dynamics.divergence import RUNAWAY
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.observe.observer import Probe, Watch
from measureflow.observe.source import Init, Source
from measureflow.plugins.registry import Registry
from measureflow.reduction.reducer import Reducer

DEFAULTS: Mapping[str, Any] = {
    "order": "sequential",
    "reducer": "auto",
    "observers": ["progress", "checkpoint", "curves", "snapshots", "health"],
}


@final
@attrs.frozen
class Player:
    """A moving measure: how it starts, and its flows in order."""

    init: Init
    flows: tuple[Flow, ...] = ()


def _name(_: Any, __: Any, value: str) -> None:
    if not value or not all(c.isalnum() or c in "._-" for c in value) or value[0] in ".-":
        raise ValueError(f"{value!r} names a folder: letters, digits, '.', '_' and '-' only, not starting with '.' or '-'")


@final
@attrs.frozen
class Experiment:
    """The whole config.

    - `name` stands in the run folder's name; `seed` keys every draw;
    - `steps` of size `step` are taken (h, which each flow's rate multiplies), in the `order` of a scheme;
    - `data` brings the measures that stand still, `measures` are those that move, `coupling` gives them their potentials;
    - `device` is a name of torch's, "auto" a GPU where there is one; `dtype` is that of every tensor;
    - `reducer` None means: picked per reduction ("auto"); `in_place`: see `Dynamics`;
    - `sharded` names the measures that several processes hold in parts, None those of at least `SHARDED` atoms;
    - `on_trouble`, a state that is not finite or runs away, the run stops, or goes on from the last good state with half the
      step ("halve-step"); `runaway`: times as far from 0 as at the start, or as 1 where that is more, a coordinate may get;
    - `metrics` are measured and `observers` look, each `every` so many steps.
    """

    name: str = attrs.field(validator=_name)
    steps: int = attrs.field(validator=within(0, LONGEST))
    step: Schedule = attrs.field(converter=as_schedule, validator=within(0.0, LARGEST, open_low=True))
    coupling: Coupling
    measures: dict[str, Player]
    order: Scheme
    data: Source
    seed: int = attrs.field(default=0, validator=within(0, 2**63))
    device: str = "auto"
    dtype: Literal["float32", "float64"] = "float32"
    reducer: Reducer | None = None
    in_place: bool = False
    sharded: tuple[str, ...] | None = None
    on_trouble: Literal["stop", "halve-step"] = "stop"
    runaway: float = attrs.field(default=RUNAWAY, validator=within(1.0))
    metrics: tuple[Probe, ...] = ()
    observers: tuple[Watch, ...] = ()

    def _repr_html_(self) -> str:
        return notebook.text(config.dumps(config.unstructure(self)))


def typed(raw: Mapping[str, Any], registry: Registry, where: str) -> Experiment:
    """The experiment that tables describe, its parts not yet held against each other or the data's files."""
    tables = {**DEFAULTS, **raw}
    if tables["reducer"] == "auto":
        del tables["reducer"]
    return config.structure(tables, Experiment, registry, where)
