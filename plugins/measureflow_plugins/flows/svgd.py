"""Stein variational gradient descent."""

from typing import Any, ClassVar, final

import attrs

from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import Schedule, scheduled
from measureflow.dynamics.coupling import Potential
from measureflow.dynamics.flow import Context, Flow
from measureflow.errors import MeasureflowError
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.features.gaussian import Gaussian


def _radial(_instance: Any, _attribute: Any, value: Feature) -> None:
    if value.form != "radial":
        raise ValueError(f"kernel {value.kind!r} is not radial; use a kernel of |x - y|, such as gaussian or inverse-multiquadric")


@final
@attrs.frozen
class Svgd(Flow):
    """dp_i = r integral [k(y, p_i) (T grad log tau - grad V)(y) + T grad_y k(y, p_i)] dmu(y), k a radial `kernel`, on R^d.

    The gradient flow of KL(mu | exp(-V/T) dtau) in the kernel's geometry: no noise, the kernel keeps the atoms apart. For a
    probability measure. As few atoms fill many dimensions, the variance comes out too small where M is not large against d.
    """

    kind: ClassVar[str] = "svgd"
    local: ClassVar[bool] = False
    pointwise: ClassVar[bool] = False
    rate: Schedule = scheduled(1.0)
    temperature: Schedule = scheduled(1.0)
    kernel: Feature = attrs.field(factory=Gaussian, validator=_radial)

    def step(self, mu: Particles, potential: Potential, h: float, context: Context) -> Particles:
        h, T = h * self.rate(context.step), self.temperature(context.step)
        if not isinstance(mu.domain, Euclidean):
            raise MeasureflowError(
                f"measures.{context.measure}.flows.{context.position} (svgd): is defined on R^d, and {context.measure!r} lives on "
                f"the {mu.domain.kind}; use langevin or kinetic-langevin there"
            )
        if h == 0:
            return mu
        force = mu.domain.score(mu.points).mul(T) - potential(mu.points, Need.GRAD).grad
        pull = context.reducer.vector_sum(self.kernel, mu.points, mu, force)
        # grad_y k(y, p) = -grad_p k(p, y): k depends on y - p only
        push = context.reducer.field(self.kernel, mu.points, mu, Need.GRAD).grad
        return mu.replace(points=mu.points + h * pull - (h * T) * push)
