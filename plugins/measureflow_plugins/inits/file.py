"""A measure that starts from a file."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, final

import attrs
import torch

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.observe.source import Init, Setting, World, settle
from measureflow_plugins.inits._saved import read_measure
from measureflow_plugins.sources._arrays import read_array


@final
@attrs.frozen
class FromFile(Init):
    """Points from .npy, .npz, .csv or .safetensors, of total variation `tv`; signs as for "uniform".

    `measure` names a measure of a run instead: its atoms with their signs and masses, from a snapshot or from the part of a
    checkpoint. What was trained can so be sampled, or trained further.
    """

    kind: ClassVar[str] = "file"
    path: str
    key: str | None = None
    columns: tuple[int, ...] | None = None
    header: int = attrs.field(default=0, validator=within(0))
    normalise: bool = False
    signs: Literal["positive", "negative", "balanced"] = "positive"
    tv: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    saved: str | None = attrs.field(default=None, alias="measure")

    def __attrs_post_init__(self) -> None:
        others = (self.key, self.columns, self.header, self.signs, self.tv)
        if self.saved is not None and others != (None, None, 0, "positive", 1.0):
            raise ValueError("measure brings its own points, signs and masses; remove key, columns, header, signs and tv")

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return len(self._array()) if self.saved is None else len(read_measure(Path(self.path), self.saved)["points"])

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        if self.saved is not None:
            return self._as_saved(self.saved, space, setting)
        points = settle(setting.tensor(self._array()), space, self.normalise, f"path: {self.path}")
        mu = Particles.uniform(points, space.domain, self.tv)
        sign = torch.ones_like(points[:, 0])
        sign[: {"positive": 0, "balanced": mu.size // 2, "negative": mu.size}[self.signs]] = -1
        return mu.replace(sign=sign)

    def _as_saved(self, name: str, space: Space, setting: Setting) -> Particles:
        parts = {part: setting.tensor(tensor) for part, tensor in read_measure(Path(self.path), name).items()}
        points = settle(parts["points"], space, self.normalise, f"path: {self.path}")
        sign, log_mass = (parts[part].expand(len(points)) for part in ("sign", "log_mass"))
        return Particles(points, sign, log_mass, space.domain)

    def _array(self) -> object:
        return read_array(Path(self.path), "path", self.key, self.columns, self.header)
