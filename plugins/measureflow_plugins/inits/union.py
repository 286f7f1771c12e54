"""A start with more atoms than another: that one, several times over."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World


@final
@attrs.frozen
class Union(Init):
    """The init `of` drawn `copies` times, each time afresh, and joined with masses over `copies`: k N atoms of the same total.

    The first copy is the draw that `of` alone would be, at the same rows. An init that draws nothing (data, grid, file) is
    repeated as it is.
    """

    kind: ClassVar[str] = "union"
    of: Init
    copies: int = attrs.field(default=2, validator=within(1))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        try:
            return self.copies * self.of.atoms(sizes)
        except MeasureflowError as error:
            raise MeasureflowError(f"of.{error}") from None

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        noises = [setting.noise, *(setting.noise.at("copy", i) for i in range(1, self.copies))]
        try:
            return joined([self.of.measure(space, world, attrs.evolve(setting, noise=noise)) for noise in noises])
        except MeasureflowError as error:
            raise MeasureflowError(f"of.{error}") from None


def joined(parts: Sequence[Particles]) -> Particles:
    """The mean of measures with the same marks, its atoms those of all; equal masses stay stored once."""
    points = torch.cat([part.points for part in parts])
    shift = math.log(len(parts))
    sign, log_mass = (part.sign for part in parts), (part.log_mass for part in parts)
    marks = {name: torch.cat([part.marks[name] for part in parts]) for name in parts[0].marks}
    return Particles(points, _one_after_another(sign, 0.0), _one_after_another(log_mass, shift), parts[0].domain, marks)


def _one_after_another(parts: Iterable[Tensor], shift: float) -> Tensor:
    """The parts (M,) less a shift as one tensor, broadcast where they all repeat one number."""
    each = list(parts)
    one = each[0][:1]
    if all(part.stride(0) == 0 and torch.equal(part[:1], one) for part in each):
        return (one - shift).expand(sum(part.shape[0] for part in each))
    return torch.cat(each) - shift
