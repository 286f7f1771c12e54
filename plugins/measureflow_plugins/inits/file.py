"""A measure that starts from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, final

import attrs
import torch

from measureflow.domain import Space
from measureflow.measure import Particles
from measureflow.schedule import within
from measureflow.source import Init, Setting, World, settle
from measureflow_plugins.sources.arrays import read_array


@final
@attrs.frozen
class FromFile(Init):
    """Points from .npy, .npz, .csv or .safetensors, of total variation `tv`; signs as for "uniform"."""

    kind: ClassVar[str] = "file"
    path: str
    key: str | None = None
    columns: tuple[int, ...] | None = None
    header: int = attrs.field(default=0, validator=within(0))
    normalise: bool = False
    signs: Literal["positive", "negative", "balanced"] = "positive"
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return len(self._array())

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        points = settle(setting.tensor(self._array()), space, self.normalise, f"path: {self.path}")
        mu = Particles.uniform(points, space.domain, self.tv)
        sign = torch.ones_like(points[:, 0])
        sign[: {"positive": 0, "balanced": mu.size // 2, "negative": mu.size}[self.signs]] = -1
        return mu.replace(sign=sign)

    def _array(self) -> object:
        return read_array(Path(self.path), "path", self.key, self.columns, self.header)
