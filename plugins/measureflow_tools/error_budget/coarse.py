"""The noise of a step that follows the Brownian path of its parts."""

import math
from collections.abc import Callable
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.noise import Noise


@final
@attrs.frozen
class Coarse(Noise):
    """Normals that are the sum of those of the parts of a step, over sqrt(parts), drawn from the keys that `Substeps` uses.

    A step of size h with this noise and `parts` steps of size h / parts with `noise` have one Brownian increment. Uniforms and
    indices are those of the first part, and so are the marks of replaced atoms (key "fresh"), since who jumps, where to and
    with which momentum cannot be summed. Turn k of a "repeat" takes the sum of turn k of each part, so that the two paths agree
    after all turns but not turn by turn. A key that itself begins with ("part", i) names a part of a step that was cut
    already; its own parts lie within it.
    """

    noise: Noise
    parts: int
    key: tuple[str | int, ...] = ()

    def at(self, *key: str | int) -> Noise:
        if not self.key and key[0] == "part":
            return Coarse(self.noise.at(*key), self.parts)
        longer = attrs.evolve(self, key=self.key + key)
        return longer._part(0) if "fresh" in key else longer

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return self._summed(lambda part: part.normal_rows(rows, width, like, draw))

    def paired_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return self._summed(lambda part: part.paired_rows(rows, width, like, draw))

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return self._part(0).uniform_rows(rows, like, draw)

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return self._part(0).index_rows(rows, high, like, draw)

    def _part(self, part: int) -> Noise:
        return self.noise.at("part", part, *self.key)

    def _summed(self, draw: Callable[[Noise], Tensor]) -> Tensor:
        parts = [draw(self._part(part)) for part in range(self.parts)]
        return torch.stack(parts).sum(0) / math.sqrt(self.parts)
