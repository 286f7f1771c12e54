"""Bumps of several widths at the data."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch

from measureflow.domain import Space
from measureflow.errors import MeasureflowError
from measureflow.measure import Particles
from measureflow.schedule import within
from measureflow.source import Init, Setting, World


def _positive(_: object, __: object, values: tuple[float, ...]) -> None:
    if not values or min(values) <= 0:
        raise ValueError(f"needs concentrations above 0, got {list(values)}")


@final
@attrs.frozen
class Bumps(Init):
    """For the von-mises-fisher feature: theta = concentration x data point, negative (wells of the energy), for each of
    `concentrations` at up to `size` data points drawn without return; and `broad` positive bumps of the lowest
    concentration in uniform directions. The total variation is `tv`, in equal shares.
    """

    kind: ClassVar[str] = "bumps"
    concentrations: tuple[float, ...] = attrs.field(validator=_positive)
    size: int = attrs.field(validator=within(1))
    broad: int = attrs.field(default=0, validator=within(0))
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return len(self.concentrations) * min(self.size, sizes.get("data", 0)) + self.broad

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        data = world.measures["data"]
        if data.dim != space.dim:
            raise MeasureflowError(f"kind: bumps sit on the data (d = {data.dim}), this measure lives in d = {space.dim}")
        wells = [kappa * self._chosen(data, str(i), setting) for i, kappa in enumerate(self.concentrations)]
        normal = setting.noise.normal_rows(range(self.broad), data.dim, data.points, "broad")
        hills = min(self.concentrations) * torch.nn.functional.normalize(normal, dim=1)
        points = torch.cat([*wells, hills])
        sign = torch.ones_like(points[:, 0])
        sign[: len(points) - self.broad] = -1
        return Particles(points, sign, torch.full_like(sign, math.log(self.tv / len(points))), space.domain)

    def _chosen(self, data: Particles, draw: str, setting: Setting) -> torch.Tensor:
        order = setting.noise.uniform_rows(data.rows, data.points, draw).argsort()
        return data.points[order[: self.size]]
