"""Experiments from files and tables, their parts held against each other and against what is to be had here."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from measureflow.config import structure as config
from measureflow.config.experiment import Experiment, typed
from measureflow.config.memory import atoms_of, device_of, spaces
from measureflow.config.pairing import misfits
from measureflow.errors import ConfigError, MeasureflowError, unknown
from measureflow.plugins.registry import Registry


def load(path: Path, registry: Registry, settings: tuple[str, ...] = ()) -> Experiment:
    """The experiment in a TOML file, with `dotted.path=value` overrides; raises ConfigError with every problem."""
    raw = functools.reduce(config.override, settings, config.read(path))
    unknown_here = set(raw) - {field.name for field in attrs.fields(Experiment)}
    others = sorted(unknown_here.intersection(registry.commands())) if unknown_here else []
    if others:
        raise ConfigError(str(path), [f"{name}: a table of another command: use `measureflow {name} {path}`" for name in others])
    return from_tables(raw, registry, str(path))


def from_tables(raw: Mapping[str, Any], registry: Registry, where: str = "experiment") -> Experiment:
    """The experiment that tables describe, ready to be built here; raises ConfigError with every problem."""
    experiment = typed(raw, registry, where)
    problems = [*_clashes(experiment), *_unavailable(experiment)] or [*_homeless(experiment)]
    if problems:
        raise ConfigError(where, problems)
    return experiment


def _unavailable(e: Experiment) -> Iterator[str]:
    """What is not to be had here: the device, files, and names that lead nowhere."""
    try:
        device_of(e)
    except MeasureflowError as error:
        yield str(error)
    try:
        sizes = e.data.sizes()
    except MeasureflowError as error:
        yield str(error)
        return
    yield from _loose_ends(e, sizes)
    for name in e.measures:
        try:
            atoms_of(name, e, sizes)
        except MeasureflowError as error:
            yield str(error)


def _homeless(e: Experiment) -> Iterator[str]:
    """Why the measures cannot live where the coupling puts them, of parts that are sound each by itself."""
    try:
        homes = spaces(e)
    except MeasureflowError as error:
        yield f"coupling ({e.coupling.kind}): {error}"
        return
    yield from misfits(e, homes)


def _clashes(e: Experiment) -> Iterator[str]:
    """Two metrics that write one name; flows that the scheme or the coupling cannot serve."""
    players = {name: player.flows for name, player in e.measures.items()}
    yield from e.order.objections(players)
    yield from e.coupling.objections(players)
    if e.in_place and not e.order.in_place:
        yield f"in_place: order = {e.order.kind!r} looks at measures as they were before they moved; use order = 'sequential'"
    if e.in_place and e.on_trouble == "halve-step":
        yield "on_trouble: 'halve-step' goes back to the last good state, which in_place = true overwrites; set one of the two"
    written = {"step": "every row", "seconds": "every row"}
    for i, probe in enumerate(e.metrics):
        mine = f"metrics.{i} ({probe.metric.kind})"
        for name in probe.metric.names:
            if name in written:
                yield f"{mine}: writes {name!r}, and so does {written[name]}; remove one"
            written[name] = mine


def _loose_ends(e: Experiment, sizes: Mapping[str, int]) -> Iterator[str]:
    """Names that lead nowhere, across components."""
    there = {*e.measures, *sizes}
    for clash in sorted(set(e.measures) & set(sizes)):
        yield f"measures.{clash}: the data bring a measure of that name; rename yours"
    for name, player in e.measures.items():
        if player.flows and name not in e.coupling.moves:
            yield (
                f"measures.{name}.flows: no potential moves it: {unknown('measure', name, e.coupling.moves)} "
                f"of coupling ({e.coupling.kind}); rename it or remove its flows"
            )
    for name in e.coupling.moves:
        if name not in e.measures:
            yield f"coupling ({e.coupling.kind}): moves {unknown('measure', name, e.measures)}"
    for name in e.coupling.reads:
        if name not in there:
            yield f"coupling ({e.coupling.kind}): reads {unknown('measure', name, there)}"
    for name, player in e.measures.items():
        for i, flow in enumerate(player.flows):
            for read in flow.reads:
                if read not in there:
                    yield f"measures.{name}.flows.{i} ({flow.kind}): reads {unknown('measure', read, there)}"
    for name in e.sharded or ():
        if name not in there:
            yield f"sharded: {unknown('measure', name, there)}"
    for i, probe in enumerate(e.metrics):
        for read in probe.metric.reads:
            if read not in there:
                yield f"metrics.{i} ({probe.metric.kind}): reads {unknown('measure', read, there)}{_given(e, read)}"


def _given(e: Experiment, name: str) -> str:
    """The keys of the data that bring the measure `name`, as far as their own names tell."""
    cls: Any = type(e.data)
    keys = [f"data.{field.alias}" for field in attrs.fields(cls) if field.alias.startswith(name)]
    return f"; the data bring it with {' or '.join(keys)}" if keys else ""
