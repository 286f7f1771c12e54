"""A price on total variation, in place of the bound that tv-ball sets."""

from typing import ClassVar, final

import attrs

from measureflow.api import Context, Flow, Particles, Potential, Schedule, hookimpl, scheduled


@final
@attrs.frozen
class Decay(Flow):
    """d log w = -r dt: beside fisher-rao or wfr of rate R, the penalty (r / R) TV(mu)."""

    kind: ClassVar[str] = "decay"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = True
    rate: Schedule = scheduled(1.0)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        return mu.replace(log_mass=mu.log_mass - h * self.rate(context.step))


@hookimpl
def components() -> list[type]:
    return [Decay]
