"""Measures held in parts by a team of processes, and the reducer that sums over them."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need, Particles
from measureflow.parallel.group import Team
from measureflow.reduction.reducer import Reducer

PIECE = 2**18  # atoms of another process that are here at one time


def part(measure: Particles, team: Team) -> Particles:
    """The rows of a whole measure that this process holds, in memory of their own."""
    rows = team.rows(measure.size, team.rank)
    mine = measure.block(rows.start, rows.stop)
    fields = {name: tensor if tensor.stride(0) == 0 else tensor.clone() for name, tensor in mine.tensors.items()}
    return Particles.of(fields, measure.domain, mine.offset, mine.whole)


def held(measure: Particles) -> bool:
    """Whether this process holds a part of the measure and others the rest."""
    return measure.size < measure.whole


@final
@attrs.frozen
class Sharded(Reducer):
    """Sums over measures of which each process of a team holds a part; `inner` evaluates those over atoms that are here.

    Where the points are the same for everyone, each sums over its own atoms and one all-reduce of n x (1 + d) numbers adds
    the sums up. Where the points too are spread over the processes, the atoms come by, at most `PIECE` at a time, and nothing
    is added. Which of the two it is, `at` knows; asked without it for a sum over parts, raises TypeError.
    """

    kind: ClassVar[str] = "sharded"
    inner: Reducer
    team: Team
    spread: bool | None = None

    def at(self, measure: Particles) -> "Sharded":
        return attrs.evolve(self, spread=held(measure))

    def field(self, phi: Feature, at: Tensor, source: Particles, need: Need) -> Field:
        return self.fields(phi, at, ((1.0, source),), need)

    def fields(self, phi: Feature, at: Tensor, terms: Sequence[tuple[float, Particles]], need: Need) -> Field:
        known = [term for term in terms if not held(term[1])]
        parts = [term for term in terms if held(term[1])]
        results = [self.inner.fields(phi, at, known, need)] if known else []
        if parts and self._passing:
            passing = ((c, piece) for c, mu in parts for piece, _ in self._pieces(mu))
            results.append(_sum(self.inner.field(phi, at, piece, need).scale(c) for c, piece in passing))
        elif parts:
            results.append(self._added(self.inner.fields(phi, at, parts, need)))
        return _sum(results)

    def directional(self, phi: Feature, at: Tensor, source: Particles, vectors: Tensor, need: Need) -> Field:
        def along(mu: Particles, v: Tensor) -> Field:
            return self.inner.directional(phi, at, mu, v, need)

        if not held(source):
            return along(source, vectors)
        if not self._passing:
            return self._added(along(source, vectors))
        return _sum(along(piece, v) for piece, (v,) in self._pieces(source, vectors))

    def vector_sum(self, phi: Feature, at: Tensor, source: Particles, vectors: Tensor) -> Tensor:
        if not held(source):
            return self.inner.vector_sum(phi, at, source, vectors)
        if not self._passing:
            return self.team.sum(self.inner.vector_sum(phi, at, source, vectors))
        out = at.new_zeros(at.shape[0], vectors.shape[1])
        for piece, (v,) in self._pieces(source, vectors):
            out += self.inner.vector_sum(phi, at, piece, v)
        return out

    def take(self, measure: Particles, index: Tensor) -> Particles:
        if not held(measure):
            return measure.take(index)
        out = {name: tensor.new_empty(len(index), *tensor.shape[1:]) for name, tensor in measure.tensors.items()}
        for piece, _ in self._pieces(measure, marks=True):
            here = ((index >= piece.offset) & (index < piece.offset + piece.size)).nonzero()[:, 0]
            for name, tensor in piece.tensors.items():
                out[name][here] = tensor[index[here] - piece.offset]
        return Particles.of(out, measure.domain)

    def total(self, measure: Particles, values: Tensor) -> Tensor:
        here = values.sum(0)
        return self.team.sum(here) if held(measure) else here

    def largest(self, measure: Particles, values: Tensor) -> Tensor:
        if not held(measure):
            return values.max()
        each = values.new_zeros(self.team.size)
        each[self.team.rank] = values.max()
        return self.team.sum(each).max()

    def whole(self, measure: Particles) -> Particles:
        if not held(measure):
            return measure
        pieces = [piece.tensors for piece, _ in self._pieces(measure, marks=True)]
        return Particles.of({name: _joined([piece[name] for piece in pieces]) for name in measure.tensors}, measure.domain)

    def part(self, measure: Particles) -> Particles:
        return part(measure, self.team)

    def most(self, measure: Particles) -> int:
        return max(self._counts(measure)) if held(measure) else measure.size

    @property
    def _passing(self) -> bool:
        """Whether the points are spread, so that atoms come by."""
        if self.spread is None:
            raise TypeError(
                "a sum over a measure held in parts: say where the points are, reducer.at(mu).field(phi, mu.points, ...)"
            )
        return self.spread

    def _added(self, here: Field) -> Field:
        """Everybody's sums added, by one all-reduce."""
        value, grad = here.maybe_value, here.maybe_grad
        if value is None or grad is None:
            return Field(*(None if one is None else self.team.sum(one) for one in (value, grad)))
        both = self.team.sum(torch.cat([value[:, None], grad], 1))
        return Field(both[:, 0], both[:, 1:])

    def _counts(self, measure: Particles) -> list[int]:
        """How many atoms each process holds."""
        mine = torch.zeros(self.team.size, dtype=torch.int64)
        mine[self.team.rank] = measure.size
        counts: list[int] = self.team.sum(mine).tolist()
        return counts

    def _pieces(self, measure: Particles, *values: Tensor, marks: bool = False) -> Iterator[tuple[Particles, list[Tensor]]]:
        """The whole measure piece by piece, in the order of its rows, each with the rows of `values` that belong to it."""
        bare, offset = measure if marks else measure.replace(marks={}), 0
        for rank, count in enumerate(self._counts(measure)):
            for start in range(0, count, PIECE):
                rows = slice(start, min(start + PIECE, count))
                tensors = {name: self._passed(tensor, rows, rank) for name, tensor in bare.tensors.items()}
                yield Particles.of(tensors, measure.domain, offset, measure.whole), [self._passed(v, rows, rank) for v in values]
                offset += rows.stop - rows.start

    def _passed(self, tensor: Tensor, rows: slice, rank: int) -> Tensor:
        """Some rows of what process `rank` holds; one number for all is known everywhere."""
        size = rows.stop - rows.start
        if tensor.stride(0) == 0:
            return tensor[:1].expand(size, *tensor.shape[1:])
        mine = tensor[rows] if rank == self.team.rank else tensor.new_empty(size, *tensor.shape[1:])
        return self.team.sent(mine, rank)


def _sum(fields: Iterable[Field]) -> Field:
    return functools.reduce(Field.plus, fields)


def _joined(pieces: Sequence[Tensor]) -> Tensor:
    """Rows of the pieces one after the other; stored once where they are the same for all."""
    if all(piece.stride(0) == 0 for piece in pieces):
        return pieces[0][:1].expand(sum(len(piece) for piece in pieces), *pieces[0].shape[1:])
    return torch.cat(list(pieces))
