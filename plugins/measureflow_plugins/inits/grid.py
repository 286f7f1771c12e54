"""A measure on a grid: its masses move, its points stand."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World
from measureflow_plugins.domains.sphere import Sphere


@final
@attrs.frozen
class Grid(Init):
    """`size` points of equal mass on S^1 (equidistant) or S^2 (a golden spiral), as a probability measure.

    On the spiral the mean of a smooth function is its integral up to about size^(-3/2); a bump of concentration kappa needs
    spacing sqrt(4 pi / size) below about 1 / sqrt(kappa).
    """

    kind: ClassVar[str] = "grid"
    size: int = attrs.field(validator=within(2))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.size

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        if not isinstance(space.domain, Sphere) or space.dim not in (2, 3):
            raise MeasureflowError(f"kind: a grid is for spheres in d = 2 or 3, this one is {space.domain.kind}, d = {space.dim}")
        i = torch.arange(self.size, dtype=torch.float64) + 0.5
        if space.dim == 2:
            angle = i * (2 * math.pi / self.size)
            points = torch.stack([angle.cos(), angle.sin()], 1)
        else:
            height, angle = 1 - 2 * i / self.size, i * (math.pi * (1 + math.sqrt(5)))
            radius = (1 - height.square()).sqrt()
            points = torch.stack([radius * angle.cos(), radius * angle.sin(), height], 1)
        return Particles.uniform(setting.tensor(points), space.domain)
