"""[sweep]: one member for every seed and every point of a grid."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import attrs

from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.errors import ConfigError, MeasureflowError
from measureflow.plugins.registry import Registry
from measureflow_tools.sweeps.members import Member
from measureflow_tools.sweeps.naming import ends, joined, labels
from measureflow_tools.sweeps.tables import check, flat, misled

MOST = 10_000  # members: each has a folder, and a process for seconds at least


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _seeds(_: Any, __: Any, value: Any) -> None:
    listed = isinstance(value, list) and value and all(_is_count(seed) for seed in value) and len(set(value)) == len(value)
    if not listed and not (_is_count(value) and 1 <= value <= MOST):
        raise ValueError(f"{value!r}: give how many, at least 1, or a list of different seeds, as in [3, 7]; {MOST:,} are the most")


def _grid(_: Any, __: Any, value: Mapping[str, Sequence[Any]]) -> None:
    for path, values in value.items():
        if not values:
            raise ValueError(f"{path} has no value to take; give a list of at least one")
    if "seed" in value:
        raise ValueError("seed: give seeds as sweep.seeds")


@final
@attrs.frozen
class Sweep:
    """The table: `seeds`, how many from the experiment's own on or a list; `grid`, the values of each dotted key."""

    seeds: Any = attrs.field(default=1, validator=_seeds)
    grid: dict[str, tuple[Any, ...]] = attrs.field(factory=dict, validator=_grid)


def members(own: Raw, tables: Raw, registry: Registry, where: str) -> list[Member]:
    """The members of the sweep that the table `own` makes of an experiment; raises ConfigError with every problem of all."""
    paths = {"grid": flat(own["grid"], lambda value: not isinstance(value, Mapping))} if "grid" in own else {}
    sweep = config.structure({"sweep": {**own, **paths}}, _Table, registry, where).sweep
    problems = misled(tables, sweep.grid, "sweep.grid")
    if problems:
        raise ConfigError(where, problems)
    found = _members(sweep, tables)
    check({member.name: member.tables for member in found}, registry, where)
    return found


@final
@attrs.frozen
class _Table:
    """The file as this command reads it, so that problems have their whole path."""

    sweep: Sweep


def _members(sweep: Sweep, tables: Raw) -> list[Member]:
    seeds = _listed(sweep.seeds, tables.get("seed", 0))
    axes = {path: list(zip(values, labels(values), strict=True)) for path, values in sweep.grid.items()}
    if len(seeds) > 1 or not axes:
        axes["seed"] = [(seed, str(seed)) for seed in seeds]
    else:
        tables = {**tables, "seed": seeds[0]}
    count = math.prod(map(len, axes.values()))
    if count > MOST:
        raise MeasureflowError(f"sweep: has {count:,} members, and {MOST:,} are the most; take fewer seeds or values")
    names = ends(list(axes))
    found = []
    for number, point in enumerate(itertools.product(*axes.values())):
        words = {names[path]: word for path, (_, word) in zip(axes, point, strict=True)}
        settings = {path: value for path, (value, _) in zip(axes, point, strict=True)}
        found.append(Member.of(joined(number, words), tables, settings))
    return found


def _listed(seeds: Any, first: Any) -> list[Any]:
    """Every seed; one alone, so that the experiment's own is checked as any other value, where that is no number."""
    if isinstance(seeds, list):
        return seeds
    return [first + i for i in range(seeds)] if _is_count(first) else [first]
