"""Data from the user's own file."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, final

import attrs
import numpy as np
import torch
from torch import Tensor

from measureflow.core.domain import Domain, Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, Source, World, settle
from measureflow_plugins.couplings._targets import with_targets
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.sources._arrays import read_array


@final
@attrs.frozen
class FromFile(Source):
    """Points from .npy, .npz, .csv or .safetensors as "data"; a test set from `test` (a path) or a random `test_fraction`.

    `key` and `test_key` name arrays in files that hold several (`test_key` alone: both in one file). `columns` picks
    columns, `header` skips lines of a .csv, `normalise` projects every row on the domain. `targets` is the column, out of
    all of the file's, that holds the y of a regression; it is no coordinate, and becomes the mark "y".
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
    targets: int | None = attrs.field(default=None, validator=within(0))

    def space(self) -> Space:
        return Space(self.domain, self._train().shape[1])

    def sizes(self) -> Mapping[str, int]:
        n, test = len(self._train()), self._test()
        settle(torch.from_numpy(self._train()), self.space(), self.normalise, f"data.path: {self.path}")  # for its errors
        self._column(self.path, "data.targets", self.key)  # read for its errors
        if test is not None:
            return {"data": n, "test": len(test)}
        held = self._held(n)
        return {"data": n - held, "test": held} if held else {"data": n}

    def world(self, setting: Setting) -> World:
        space = self.space()
        data = settle(setting.tensor(self._train()), space, self.normalise, f"data.path: {self.path}")
        y = self._targets(setting, self.path, "data.path", self.key)
        test, y_out = self._test(), y
        if test is not None:
            y_out = self._targets(setting, self.test or self.path, "data.test", self.test_key)
            held_out = settle(setting.tensor(test), space, self.normalise, f"data.test: {self.test or self.path}")
        else:
            order = setting.noise.uniform_rows(range(len(data)), data, "split").argsort()
            held = self._held(len(data))
            if held and y is not None:
                y_out, y = y[order[:held]], y[order[held:]]
            held_out, data = data[order[:held]], data[order[held:]] if held else data
        measures = {"data": with_targets(Particles.uniform(data, space.domain), y)}
        if len(held_out):
            measures["test"] = with_targets(Particles.uniform(held_out, space.domain), y_out)
        return World(space, measures)

    def _held(self, n: int) -> int:
        return round(self.test_fraction * n)

    def _train(self) -> np.ndarray:
        return self._points(self.path, "data.path", self.key)

    def _test(self) -> np.ndarray | None:
        if self.test is None and self.test_key is None:
            return None
        return self._points(self.test or self.path, "data.test", self.test_key)

    def _points(self, path: str, where: str, key: str | None) -> np.ndarray:
        array = read_array(Path(path), where, key, self.columns, self.header)
        if self.targets is None or self.columns is not None:
            return array
        return array[:, [column for column in range(array.shape[1]) if column != self.targets]]

    def _column(self, path: str, where: str, key: str | None) -> np.ndarray | None:
        return None if self.targets is None else read_array(Path(path), where, key, (self.targets,), self.header)[:, 0]

    def _targets(self, setting: Setting, path: str, where: str, key: str | None) -> Tensor | None:
        column = self._column(path, where, key)
        if column is None:
            return None
        y = setting.tensor(column)
        if not bool(torch.isfinite(y).all()):
            row = int((~torch.isfinite(y)).nonzero()[0])
            raise MeasureflowError(f"{where}: {path}: the target in row {row} is not finite; remove or mend such rows")
        return y
