"""Kernel Stein discrepancy of samples from the learned Gibbs law."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.core.schedule import within
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._samples import thinned
from measureflow_plugins.metrics._stein import stein


@final
@attrs.frozen
class KernelStein(Metric):
    """Squared kernel Stein discrepancy of the positive measure `of` from exp(-beta f) dtau: no log Z, no samples of the law.

    On R^d with the Gaussian kernel of the given `length`; on the sphere with the same kernel and the second-order operator. The
    diagonal is left out, so that its mean is 0 for independent samples of the law itself (it may be negative). Above
    `at_most` atoms a random part is used. Writes "kernel-stein" and "kernel-stein.error", one standard error.
    """

    kind: ClassVar[str] = "kernel-stein"
    of: str = "nu"
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    at_most: int = attrs.field(default=8192, validator=within(2))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("kernel-stein", "kernel-stein.error")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu = thinned(system[self.of], self.at_most, view.noise.at("kernel-stein"))
        value, error = residual(system, view, mu, self.beta, self.length)
        return {"kernel-stein": value, "kernel-stein.error": error}


def residual(system: System, view: View, mu: Particles, beta: float, length: float) -> tuple[Tensor, Tensor]:
    """How far `mu` is from the learned Gibbs law: squared discrepancy and standard error."""
    grad = view.coupling.energy(system, view.reducer)(mu.points, Need.GRAD).grad
    s = mu.domain.score(mu.points) - beta * mu.domain.tangent(mu.points, grad)
    return stein(mu, s, length, view.reducer)
