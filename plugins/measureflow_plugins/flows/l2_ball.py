"""The L2 ball of signed masses."""

from typing import ClassVar, final

import attrs
import torch

from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow


@final
@attrs.frozen
class L2Ball(Flow):
    """Projection on (1/M) sum_j h_j^2 <= radius^2, h_j = M mass_j: |f|_F2 <= radius for frozen features (Bach 2017)."""

    kind: ClassVar[str] = "l2-ball"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = True
    parts: ClassVar[bool] = True
    radius: float = attrs.field(validator=within(0.0, open_low=True))

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        if h == 0:
            return mu
        square = context.reducer.total(mu, (2 * mu.log_mass).exp()) * mu.whole
        excess = torch.log(square.sqrt() / self.radius).clamp(min=0)
        return mu.replace(log_mass=mu.log_mass - excess)
