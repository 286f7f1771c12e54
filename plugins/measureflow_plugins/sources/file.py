"""Data from the user's own file."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

import attrs
import numpy as np

from measureflow.domain import Domain, Space
from measureflow.measure import Particles
from measureflow.schedule import within
from measureflow.source import Setting, Source, World, settle
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.sources.arrays import read_array


@final
@attrs.frozen
class FromFile(Source):
    """Points from .npy, .npz, .csv or .safetensors as "data"; a test set from `test` (a path) or a random `test_fraction`.

    `key` and `test_key` name arrays in files that hold several (`test_key` alone: both in one file). `columns` picks
    columns, `header` skips lines of a .csv, `normalise` projects every row on the domain.
    """

    kind: ClassVar[str] = "file"
    path: str
    domain: Domain = attrs.field(factory=Euclidean)
    key: str | None = None
    test: str | None = None
    test_key: str | None = None
    test_fraction: float = attrs.field(default=0.0, validator=within(0.0, 0.99))
    columns: tuple[int, ...] | None = None
    header: int = attrs.field(default=0, validator=within(0))
    normalise: bool = False

    def space(self) -> Space:
        return Space(self.domain, self._train().shape[1])

    def sizes(self) -> Mapping[str, int]:
        n, test = len(self._train()), self._test()
        if test is not None:
            return {"data": n, "test": len(test)}
        held = self._held(n)
        return {"data": n - held, "test": held} if held else {"data": n}

    def world(self, setting: Setting) -> World:
        space = self.space()
        data = settle(setting.tensor(self._train()), space, self.normalise, f"data.path: {self.path}")
        test = self._test()
        if test is not None:
            held_out = settle(setting.tensor(test), space, self.normalise, f"data.test: {self.test or self.path}")
        else:
            order = setting.noise.uniform_rows(range(len(data)), data, "split").argsort()
            held = self._held(len(data))
            held_out, data = data[order[:held]], data[order[held:]] if held else data
        measures = {"data": Particles.uniform(data, space.domain)}
        if len(held_out):
            measures["test"] = Particles.uniform(held_out, space.domain)
        return World(space, measures)

    def _held(self, n: int) -> int:
        return round(self.test_fraction * n)

    def _train(self) -> np.ndarray:
        return read_array(Path(self.path), "data.path", self.key, self.columns, self.header)

    def _test(self) -> np.ndarray | None:
        if self.test is None and self.test_key is None:
            return None
        return read_array(Path(self.test or self.path), "data.test", self.test_key, self.columns, self.header)
