"""Bumps of several widths, at the data or all over the sphere."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, final

import attrs
import torch

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World
from measureflow_plugins.domains.euclidean import Euclidean


@final
@attrs.frozen
class Width:
    """`size` bumps of one concentration: `at` "data", different data points (at most all), or "everywhere", uniform."""

    concentration: float = attrs.field(validator=within(0.0, open_low=True))
    size: int = attrs.field(validator=within(1))
    at: Literal["data", "everywhere"] = "data"

    def atoms(self, data: int) -> int:
        return self.size if self.at == "everywhere" else min(self.size, data)


@final
@attrs.frozen
class Bumps(Init):
    """For the von-mises-fisher feature: theta = concentration x direction, for each of `widths`.

    All are wells of the energy (negative); the total variation is `tv`, in equal shares.
    """

    kind: ClassVar[str] = "bumps"
    widths: tuple[Width, ...] = attrs.field(validator=attrs.validators.min_len(1))
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return sum(width.atoms(sizes.get("data", 0)) for width in self.widths)

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        data = world.data
        if data.dim != space.dim:
            raise MeasureflowError(f"kind: bumps sit on the data (d = {data.dim}), this measure lives in d = {space.dim}")
        if not isinstance(space.domain, Euclidean):
            raise MeasureflowError(
                f"kind: bumps live in R^d, this measure on {space.domain.kind}; use them for the feature von-mises-fisher"
            )
        directions = [_directions(width, data, str(i), setting) for i, width in enumerate(self.widths)]
        points = torch.cat([width.concentration * unit for width, unit in zip(self.widths, directions, strict=True)])
        log_mass = torch.full_like(points[:, 0], math.log(self.tv / len(points)))
        return Particles(points, -torch.ones_like(log_mass), log_mass, space.domain)


def _directions(width: Width, data: Particles, draw: str, setting: Setting) -> torch.Tensor:
    if width.at == "everywhere":
        return torch.nn.functional.normalize(setting.noise.normal_rows(range(width.size), data.dim, data.points, draw), dim=1)
    order = setting.noise.uniform_rows(data.rows, data.points, draw).argsort()
    return data.points[order[: width.size]]
