"""Whether the features of an experiment are functions on the spaces that their points come from."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from measureflow.config.experiment import Experiment
from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.errors import MeasureflowError

POINTS = 8  # on each side: a feature that fits at so many random points fits


def misfits(e: Experiment, homes: Mapping[str, Space]) -> Iterator[str]:
    """Each feature that is no function of the points it is given, as `path (kind): why`.

    Those of the coupling and the data are given the data's points, those of a flow or a metric its measures' own.
    """
    for path, phi, x in _given(e, homes):
        try:
            why = misfit(phi, x, phi.parameter_space(x))
        except MeasureflowError as error:
            why = str(error)
        if why is not None:
            yield f"{path} ({phi.kind}): {why}"


def _given(e: Experiment, homes: Mapping[str, Space]) -> Iterator[tuple[str, Feature, Space]]:
    """Every feature with its path and the space of its x side, if that is one."""
    data = e.data.space()
    parts: list[tuple[str, Any, set[Space]]] = [("coupling", e.coupling, {data}), ("data", e.data, {data})]
    parts += [(f"measures.{name}.flows", player.flows, {homes[name]}) for name, player in e.measures.items()]
    for i, probe in enumerate(e.metrics):
        parts.append((f"metrics.{i}", probe.metric, {homes.get(name, data) for name in probe.metric.reads}))
    for path, part, spaces in parts:
        for x in spaces if len(spaces) == 1 else ():
            yield from ((where, phi, x) for where, phi in _features(path, part))


def misfit(phi: Feature, x: Space, y: Space) -> str | None:
    """Why phi is no function on `x` or, on its other side, on `y`; None if nothing speaks against it."""
    return _one_sided(phi, x, y) or _one_sided(phi.T, y, x)


def _one_sided(phi: Feature, x: Space, y: Space) -> str | None:
    return x.domain.objection(lambda points: phi.pair(points, _some(y)), x.dim)


def _some(space: Space) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return space.domain.sample(torch.randn(POINTS, space.dim, generator=generator, dtype=torch.float64))


def _features(path: str, part: Any) -> Iterator[tuple[str, Feature]]:
    """The features in a component and in the components inside it, by their keys in the config."""
    if isinstance(part, Feature):
        yield path, part
    elif isinstance(part, tuple):
        for i, each in enumerate(part):
            yield from _features(f"{path}.{i}", each)
    elif attrs.has(type(part)):
        for field in attrs.fields(type(part)):
            yield from _features(f"{path}.{field.alias}", getattr(part, field.name))
