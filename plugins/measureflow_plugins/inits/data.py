"""A measure that starts as the data."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs

from measureflow.domain import Space
from measureflow.measure import Particles
from measureflow.source import Init, Setting, World


@final
@attrs.frozen
class FromData(Init):
    """The data `copies` times over, as a probability measure: atom i is a copy of data point i mod n."""

    kind: ClassVar[str] = "data"
    copies: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        return self.copies * sizes.get("data", 0)

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        return Particles.uniform(world.measures["data"].points.repeat(self.copies, 1), space.domain)
