"""Places on earth, from latitude and longitude."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

import attrs
import numpy as np

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, Source, World, settle
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.sources._arrays import read_array


@final
@attrs.frozen
class Earth(Source):
    """Points of S^2 from a file's latitude and longitude in degrees, split at random by the seed.

    `columns` are those of latitude and longitude, `header` lines are skipped. A share `validation` becomes the measure
    "validation", a share `test` "test", the rest "data".
    """

    kind: ClassVar[str] = "earth"
    path: str
    columns: tuple[int, ...] = attrs.field(default=(0, 1), validator=attrs.validators.min_len(2))
    header: int = attrs.field(default=1, validator=within(0))
    validation: float = attrs.field(default=0.1, validator=within(0.0, 0.45))
    test: float = attrs.field(default=0.1, validator=within(0.0, 0.45))

    def space(self) -> Space:
        return Space(Sphere(), 3)

    def sizes(self) -> Mapping[str, int]:
        n = len(self._degrees())
        held = {"validation": round(self.validation * n), "test": round(self.test * n)}
        return {"data": n - sum(held.values())} | {name: size for name, size in held.items() if size}

    def world(self, setting: Setting) -> World:
        degrees = np.radians(self._degrees())
        latitude, longitude = degrees[:, 0], degrees[:, 1]
        ring = np.cos(latitude)
        xyz = np.stack([ring * np.cos(longitude), ring * np.sin(longitude), np.sin(latitude)], 1)
        points = settle(setting.tensor(xyz), self.space(), True, f"data.path: {self.path}")
        points = points[setting.noise.uniform_rows(range(len(points)), points, "split").argsort()]
        measures, start = {}, 0
        for name, size in self.sizes().items():
            measures[name] = Particles.uniform(points[start : start + size], Sphere())
            start += size
        return World(self.space(), measures)

    def _degrees(self) -> np.ndarray:
        degrees = read_array(Path(self.path), "data.path", None, self.columns[:2], self.header)
        beyond = np.abs(degrees) > np.array([90.0, 360.0])
        if beyond.any():
            row = int(np.argmax(beyond.any(1)))
            raise MeasureflowError(
                f"data.path: {self.path}: row {row} is {degrees[row].tolist()}; latitudes are within 90 degrees and longitudes"
                f" within 360: columns = [latitude, longitude] says where they are (now {list(self.columns)})"
            )
        return degrees
