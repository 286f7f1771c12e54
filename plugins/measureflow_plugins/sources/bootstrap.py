"""Data drawn again from the data."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError, unknown
from measureflow.observe.source import Setting, Source, World


@final
@attrs.frozen
class Bootstrap(Source):
    """The world of the source `of` with as many atoms of "data" drawn with replacement; all else as it was.

    `resample` numbers the draws: each number another one, the same for the same seed. Marks, such as the y of a regression,
    go with their atoms.
    """

    kind: ClassVar[str] = "bootstrap"
    of: Source
    resample: int = attrs.field(default=0, validator=within(0))

    def space(self) -> Space:
        return self.of.space()

    def sizes(self) -> Mapping[str, int]:
        return self.of.sizes()

    def world(self, setting: Setting) -> World:
        world = self.of.world(setting)
        if "data" not in world.measures:
            raise MeasureflowError(f"data (bootstrap): {unknown('measure', 'data', world.measures)}; use its source by itself")
        data = resampled(world.measures["data"], setting.noise.at("bootstrap", self.resample))
        return attrs.evolve(world, measures={**world.measures, "data": data})


def resampled(mu: Particles, noise: Noise) -> Particles:
    """As many atoms of `mu`, drawn with replacement; equal masses stay stored once."""
    some = mu.take(noise.index_rows(mu.rows, mu.size, mu.points, "who"))
    return some.replace(sign=mu.sign, log_mass=mu.log_mass) if mu.equal else some
