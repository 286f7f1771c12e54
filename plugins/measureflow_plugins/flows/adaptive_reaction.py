"""Reaction at a speed of its own for every atom."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.coupling import Potential
from measureflow.flow import Context, Flow
from measureflow.measure import Need, Particles
from measureflow.noise import Noise
from measureflow.schedule import Schedule, scheduled, within


@final
@attrs.frozen
class AdaptiveReaction(Flow):
    """d log w = -r s V / sqrt(v) dt, v a running mean of V^2 over steps (factor `decay`, its start corrected for).

    Not a gradient flow: a preconditioner for neurons whose potentials differ by orders of magnitude, as bumps of several
    widths do. One step changes log w by at most h r / sqrt(1 - decay).
    """

    kind: ClassVar[str] = "adaptive-reaction"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    decay: float = attrs.field(default=0.9, validator=within(0.0, 0.9999))

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {"power": torch.zeros_like(mu.points[:, 0])}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        V = potential(mu.points, Need.VALUE).value
        power = self.decay * mu.marks["power"] + (1 - self.decay) * V.square()
        typical = (power / (1 - self.decay ** (context.step + 1))).sqrt().clamp(min=torch.finfo(V.dtype).tiny)
        return mu.replace(log_mass=mu.log_mass - h * mu.sign * V / typical, marks={**mu.marks, "power": power})
