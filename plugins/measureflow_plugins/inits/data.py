"""A measure that starts as the data."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World


@final
@attrs.frozen
class FromData(Init):
    """The data `copies` times over, as a probability measure: atom i is a copy of data point i mod n."""

    kind: ClassVar[str] = "data"
    copies: int = attrs.field(default=1, validator=within(1))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.copies * sizes.get("data", 0)

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        if space != world.space:
            (kind, d), (mine, dim) = ((each.domain.kind, each.dim) for each in (world.space, space))
            raise MeasureflowError(
                f"kind = 'data': the data live on {kind} with d = {d}, this measure on {mine} with d = {dim}; "
                "start it from 'uniform' or 'file'"
            )
        return Particles.uniform(world.data.points.repeat(self.copies, 1), space.domain)
