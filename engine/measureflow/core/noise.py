"""Keyed randomness: the same draw for the same key, however the work is cut up."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import attrs
import torch
from jaxtyping import Float, Int
from torch import Tensor

from measureflow.core.measure import Particles


class Noise(ABC):
    """Random numbers named by a key instead of by the order in which they are asked for.

    A draw belongs to (seed, measure, step, flow position, draw) and to the row of the atom in the whole measure, so it is
    the same for any chunking, after a resume, and on any number of ranks. Write a `Noise` to wrap another one: to record
    draws, to replay them, or to halve a Brownian step. Implement `at` and the three `rows` methods; `normal`, `uniform`,
    `index` and `antithetic` follow. Every result is a fresh tensor that the caller may overwrite.
    """

    @abstractmethod
    def at(self, *key: str | int) -> "Noise":
        """The same noise under a longer key."""

    @abstractmethod
    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Float[Tensor, "rows width"]:
        """Standard normals for `rows`, with the dtype and device of `like`."""

    @abstractmethod
    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Float[Tensor, " rows"]:
        """Uniforms on [0, 1) for `rows`."""

    @abstractmethod
    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Int[Tensor, " rows"]:
        """Uniform integers in [0, high) for `rows`, on the device of `like`."""

    def paired_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Float[Tensor, "rows width"]:
        """The normals of one half of antithetic pairs, which are read and never overwritten, so that they may be kept."""
        return self.normal_rows(rows, width, like, draw)

    @final
    def normal(self, mu: Particles, draw: str = "") -> Float[Tensor, "M d"]:
        """A standard normal for every coordinate of every atom of `mu`."""
        return self.normal_rows(mu.rows, mu.dim, mu.points, draw)

    @final
    def antithetic(self, mu: Particles, draw: str = "") -> Float[Tensor, "M d"]:
        """Normals of which atom i + N/2 gets the negative of atom i's; raises ValueError where N is odd."""
        half = mu.whole // 2
        if 2 * half != mu.whole:
            raise ValueError(f"antithetic noise pairs atom i with atom i + N/2: N = {mu.whole} is odd")
        first = range(min(mu.rows.start, half), min(mu.rows.stop, half))
        second = range(max(mu.rows.start, half) - half, max(mu.rows.stop, half) - half)
        if len(first) == len(second) == half:
            plus = minus = self.paired_rows(first, mu.dim, mu.points, draw)
        else:
            plus = self.paired_rows(first, mu.dim, mu.points, draw)
            minus = self.paired_rows(second, mu.dim, mu.points, draw)
        out = torch.empty_like(mu.points)
        out[: len(first)] = plus
        torch.neg(minus, out=out[len(first) :])
        return out

    @final
    def uniform(self, mu: Particles, draw: str = "") -> Float[Tensor, " M"]:
        """A uniform on [0, 1) for every atom of `mu`."""
        return self.uniform_rows(mu.rows, mu.points, draw)

    @final
    def index(self, mu: Particles, high: int, draw: str = "") -> Int[Tensor, " M"]:
        """A uniform integer in [0, high) for every atom of `mu`."""
        return self.index_rows(mu.rows, high, mu.points, draw)


@final
@attrs.frozen
class Keyed(Noise):
    """Torch's generator, seeded afresh for every block of rows from a hash of the key.

    Blocks have a number of rows that depends on the width alone and are always drawn whole, so a slice of the rows gets the
    same numbers as the whole. Torch's CPU generator keeps 32 bits of its seed, hence seed = (hash + block) mod 2^32.
    """

    seed: int
    key: tuple[str | int, ...] = ()

    def at(self, *key: str | int) -> "Keyed":
        return Keyed(self.seed, self.key + key)

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        out = like.new_empty(len(rows), width)
        return self._fill(rows, out, draw, lambda block, g: block.normal_(generator=g))

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        out = like.new_empty(len(rows))
        return self._fill(rows, out, draw, lambda block, g: block.uniform_(generator=g))

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        out = torch.empty(len(rows), dtype=torch.int64, device=like.device)
        return self._fill(rows, out, draw, lambda block, g: block.random_(0, high, generator=g))

    def _fill(self, rows: range, out: Tensor, draw: str, fill: Callable[[Tensor, torch.Generator], Tensor]) -> Tensor:
        size = 1024 if out.device.type == "cpu" else _wide_rows(out[:1].numel())
        digest = hashlib.blake2b(repr((self.seed, self.key, draw)).encode(), digest_size=8).digest()
        base = int.from_bytes(digest, "little")
        generator = torch.Generator(out.device)
        for block in range(rows.start // size, -(-rows.stop // size)):
            generator.manual_seed((base + block) % 2**32)
            start, stop = max(rows.start, block * size), min(rows.stop, (block + 1) * size)
            target = out[start - rows.start : stop - rows.start]
            reach = self._reach(stop - block * size, size, out.device)
            if stop - start == reach:
                fill(target, generator)
            else:
                drawn = fill(out.new_empty(reach, *out.shape[1:]), generator)
                target.copy_(drawn[start - block * size : stop - block * size])
        return out

    @staticmethod
    def _reach(rows: int, size: int, device: torch.device) -> int:
        """Rows to draw for the first `rows` of a block: on the CPU torch fills in order, in groups of 16 numbers."""
        return -(-rows // 16) * 16 if device.type == "cpu" else size


def _wide_rows(width: int) -> int:
    """Rows of a block on a GPU, which one launch fills: at most 2^16 rows and about 2^20 numbers."""
    return min(2**16, max(1, 2**20 // max(1, width)))
