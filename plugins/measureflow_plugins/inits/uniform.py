"""A measure that starts as draws from its domain's base law."""

import math
from collections.abc import Mapping
from typing import ClassVar, Literal, final

import attrs
import torch

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.observe.source import Init, Setting, World


@final
@attrs.frozen
class Uniform(Init):
    """`size` independent draws of the base law (uniform on a sphere, Gaussian on R^d), of total variation `tv`.

    signs "positive", "negative", or "balanced": the first half -1, the rest +1.
    """

    kind: ClassVar[str] = "uniform"
    size: int = attrs.field(validator=within(1))
    signs: Literal["positive", "negative", "balanced"] = "positive"
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.size

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        like = setting.tensor([])
        points = space.domain.sample(setting.noise.normal_rows(range(self.size), space.dim, like, "points"))
        sign = torch.ones_like(points[:, 0])
        if self.signs != "positive":
            sign[: self.size // 2 if self.signs == "balanced" else self.size] = -1
        return Particles(points, sign, torch.full_like(sign, math.log(self.tv / self.size)), space.domain)
