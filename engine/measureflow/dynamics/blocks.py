"""A local flow taken block by block, so that what it needs besides the measure stays small."""

from collections.abc import Iterator
from typing import final

import attrs
from torch import Tensor

from measureflow.core.measure import Particles
from measureflow.core.noise import Noise
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import MeasureflowError

ROWS = {"cpu": 2**17, "cuda": 2**22}  # rows of a block: few enough for memory, many enough for every thread


def streamed(flow: Flow, mu: Particles, potential: Potential, h: float, context: Context, in_place: bool) -> Particles:
    """`flow.step` on one block of `mu` after the other where the flow is local and `mu` large, else on all of it.

    With `in_place` the new points overwrite the old, which nobody may then read: neither the potential nor another measure.
    """
    rows = ROWS.get(mu.points.device.type, mu.size)
    if not flow.local or mu.whole <= rows or (most := context.reducer.most(mu)) <= rows:
        return step_of(flow, mu, potential, h, context)
    context = attrs.evolve(context, noise=_Mirrored(context.noise))
    outs: dict[str, Tensor] = {}
    if in_place and context.measure not in flow.reads and _alone(mu, context) and not potential.reads(mu):
        outs["points"] = mu.points
    for span in _mirrored(mu, rows, most):
        block = mu.block(span.start, span.stop)
        before, after = block.tensors, step_of(flow, block, potential, h, context).tensors
        for name, part in after.items():  # the points last: a new mark may be a view of the old ones
            if name not in outs and part is not before.get(name):
                outs[name] = part.new_empty(mu.size, *part.shape[1:]) if span.start == 0 else mu.tensors[name].clone()
            if name in outs and outs[name][span].data_ptr() != part.data_ptr():
                outs[name][span] = part
    if not outs:
        return mu
    marks = {name[6:]: out for name, out in outs.items() if name.startswith("marks.")}
    fields = {name: out for name, out in outs.items() if not name.startswith("marks.")}
    return mu.replace(**fields, marks={**mu.marks, **marks})


def step_of(flow: Flow, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
    """`flow.step`; raises MeasureflowError that names the flow if that is no measure of as many atoms."""
    moved: object = flow.step(mu, potential, h, context)
    if isinstance(moved, Particles) and moved.points.shape == mu.points.shape:
        return moved
    gave = f"{tuple(moved.points.shape)} points" if isinstance(moved, Particles) else f"{moved!r:.60}"
    raise MeasureflowError(
        f"measures.{context.measure}.flows.{context.position} ({flow.kind}): its step gave {gave}; it must give a measure of "
        f"{tuple(mu.points.shape)} points, as mu.replace does"
    )


def _alone(mu: Particles, context: Context) -> bool:
    """Whether no other measure keeps its points in the memory of this one's."""
    return not any(other.shares(mu) for name, other in context.system.measures.items() if name != context.measure)


def _mirrored(mu: Particles, rows: int, most: int) -> Iterator[slice]:
    """Blocks of rows, each of the first half followed by its mirror in the second, so that antithetic noise is drawn once.

    Of a measure held in parts, as many blocks as the process with the `most` atoms has: all ask the potential as often.
    """
    if mu.size < mu.whole:
        blocks = -(-most // rows)
        yield from (slice(mu.size * i // blocks, mu.size * (i + 1) // blocks) for i in range(blocks))
        return
    half = mu.size // 2 if mu.size % 2 == 0 else mu.size
    for start in range(0, half, rows):
        for shift in range(0, mu.size, half):
            yield slice(shift + start, shift + min(start + rows, half))


@final
@attrs.define(eq=False)
class _Mirrored(Noise):
    """A noise that remembers the last rows drawn for antithetic pairs, for the block that mirrors them."""

    noise: Noise
    last: dict[tuple[str, int], tuple[range, Tensor]] = attrs.field(factory=dict)

    def at(self, *key: str | int) -> Noise:
        return self.noise.at(*key)

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.normal_rows(rows, width, like, draw)

    def paired_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        if not rows:
            return like.new_empty(0, width)
        known, normal = self.last.pop((draw, width), (range(0), like))
        if known != rows:
            normal = self.noise.normal_rows(rows, width, like, draw)
            self.last[draw, width] = rows, normal
        return normal

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        return self.noise.uniform_rows(rows, like, draw)

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        return self.noise.index_rows(rows, high, like, draw)
