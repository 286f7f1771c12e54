"""Additive reaction with Adam's step."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule, scheduled, within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow_plugins.flows.additive import massed


@final
@attrs.frozen
class Adam(Flow):
    """d mass = -r m / sqrt(v) dt at fixed points, m and v running means of V and V^2 over steps (Kingma and Ba 2015).

    Not a gradient flow: a preconditioner for neurons whose potentials differ by orders of magnitude, as bumps of several
    widths do. The memories are `momentum` and `decay`, their starts corrected for; a steady V moves a mass by h r a step. Steps at
    rate 0 do not count.
    """

    kind: ClassVar[str] = "adam"
    local: ClassVar[bool] = True
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    momentum: float = attrs.field(default=0.9, validator=within(0.0, 0.9999))
    decay: float = attrs.field(default=0.99, validator=within(0.0, 0.9999))

    def marks(self, mu: Particles, noise: Noise) -> Mapping[str, Tensor]:
        return {name: torch.zeros_like(mu.log_mass) for name in ("mean", "power", "steps")}

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h = h * self.rate(context.step)
        if h == 0:
            return mu
        V = potential(mu.points, Need.VALUE).value
        mean = torch.lerp(V, mu.marks["mean"], self.momentum)
        power = torch.lerp(V.square(), mu.marks["power"], self.decay)
        steps = mu.marks["steps"] + 1
        typical = (power / _filled(self.decay, steps)).sqrt()
        move = mean / _filled(self.momentum, steps) / typical.clamp(min=torch.finfo(V.dtype).tiny)
        return massed(mu, mu.mass - h * move).replace(marks={**mu.marks, "mean": mean, "power": power, "steps": steps})


def _filled(kept: float, steps: Tensor) -> Tensor:
    """1 - kept^steps: the total weight that a running mean gives to its first `steps` terms."""
    return -torch.expm1(steps * math.log(kept)) if kept else torch.ones_like(steps)
