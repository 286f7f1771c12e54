"""Data sets that come with scikit-learn."""

from collections.abc import Mapping
from typing import ClassVar, Literal, final

import attrs
import numpy as np

from measureflow.core.domain import Domain, Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.observe.source import Setting, Source, World, settle
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.extras import needed


@final
@attrs.frozen
class ScikitLearn(Source):
    """Points of a data set that scikit-learn installs with itself as "data"; a random `test_fraction` as "test".

    Nothing is downloaded. `normalise` projects every row on the domain; targets are left out.
    """

    kind: ClassVar[str] = "scikit-learn"
    name: Literal["breast-cancer", "diabetes", "digits", "iris", "wine"]
    domain: Domain = attrs.field(factory=Euclidean)
    test_fraction: float = attrs.field(default=0.0, validator=within(0.0, 0.99))
    normalise: bool = False

    def space(self) -> Space:
        return Space(self.domain, self._rows().shape[1])

    def sizes(self) -> Mapping[str, int]:
        n = len(self._rows())
        held = round(self.test_fraction * n)
        return {"data": n - held, "test": held} if held else {"data": n}

    def world(self, setting: Setting) -> World:
        space, sizes = self.space(), self.sizes()
        points = settle(setting.tensor(self._rows()), space, self.normalise, f"data.name: {self.name}")
        order = setting.noise.uniform_rows(range(len(points)), points, "split").argsort()
        held = sizes.get("test", 0)
        rows = {"data": order[held:], "test": order[:held]}
        return World(space, {name: Particles.uniform(points[rows[name]], space.domain) for name in sizes})

    def _rows(self) -> np.ndarray:
        datasets = needed("sklearn.datasets", f"data: kind = {self.kind!r}", "sklearn")
        rows: np.ndarray = getattr(datasets, f"load_{self.name.replace('-', '_')}")().data
        return rows
