"""Noises that are watched, reordered or left out."""

from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.noise import Noise


@final
@attrs.frozen(eq=False)
class Watched(Noise):
    """A noise that notes the rows it is asked for, and under which name."""

    noise: Noise
    asked: list[range] = attrs.field(factory=list)
    names: list[str] = attrs.field(factory=list)
    key: tuple[str | int, ...] = ()

    def at(self, *key: str | int) -> Noise:
        return Watched(self.noise.at(*key), self.asked, self.names, self.key + key)

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        self._note(rows, draw)
        return self.noise.normal_rows(rows, width, like, draw)

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        self._note(rows, draw)
        return self.noise.uniform_rows(rows, like, draw)

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        self._note(rows, draw)
        return self.noise.index_rows(rows, high, like, draw)

    def _note(self, rows: range, draw: str) -> None:
        self.asked.append(rows)
        self.names.append(f"{'/'.join(map(str, self.key))} {draw!r}")


@final
@attrs.frozen(eq=False)
class Reordered(Noise):
    """The same draws for atoms in another order: row i gets what row `order[i]` would."""

    noise: Noise
    order: Tensor

    def at(self, *key: str | int) -> Noise:
        return Reordered(self.noise.at(*key), self.order)

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.normal_rows(range(len(self.order)), width, like, draw)[self.order[rows.start : rows.stop]]

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return self.noise.uniform_rows(range(len(self.order)), like, draw)[self.order[rows.start : rows.stop]]

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.index_rows(range(len(self.order)), high, like, draw)[self.order[rows.start : rows.stop]]


@final
@attrs.frozen
class Blank(Noise):
    """Draws without numbers, for tensors without numbers."""

    def at(self, *key: str | int) -> Noise:
        return self

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return like.new_empty(len(rows), width)

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return like.new_empty(len(rows))

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return torch.empty(len(rows), dtype=torch.int64, device=like.device)
