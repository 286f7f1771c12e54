"""The duality gap of dual training."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.core.schedule import MANY, within
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._ascent import highest
from measureflow_plugins.metrics._gibbs import Law, Rule, gibbs
from measureflow_plugins.metrics._samples import thinned
from measureflow_plugins.metrics.kernel_stein import residual


@final
@attrs.frozen
class Gap(Metric):
    """R max |F| - integral F dgamma >= 0 with F = integral phi(x, .) d(Gibbs(gamma) - data): what training can still gain.

    It is the primal value at gamma plus the dual value at Gibbs(gamma), entropies at temperature 1/beta; log Z cancels
    (Domingo-Enrich et al., Theorem 1). R is the TV bound `radius`. Gibbs(gamma) is integrated as `gibbs` says, never taken from
    the walkers, whose own distance from it stands beside: "gap.residual", their kernel Stein discrepancy at `length` on at most
    `at_most` of them. The maximum is climbed to from the neurons and `starts` random parameters, the `climbers` highest, in
    `ascent` steps. Of a sampled law the noise of F raises its maximum, so that "gap" is in the mean no smaller than the gap; where
    one half of the samples finds the maximiser and the other weighs it, it is no larger: "gap.low".

    Writes "gap"; "gap.low", the same by quadrature; "gap.error" (quadrature: the distance to half the nodes; sampling: a standard
    error, to be trusted where "gap.ess", the effective share of the chains, is above some percent); "gap.ess", 1 by quadrature;
    "gap.residual"; "gap.F" at the maximiser, where a neuron of the sign of gap.F belongs next, and its first `coordinates`
    coordinates, "gap.next.0", ...
    """

    kind: ClassVar[str] = "gap"
    radius: float = attrs.field(validator=within(0.0, open_low=True))
    nu: str = "nu"
    gamma: str = "gamma"
    data: str = "data"
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    gibbs: Rule = attrs.field(factory=Rule)
    starts: int = attrs.field(default=256, validator=within(0, MANY))
    climbers: int = attrs.field(default=32, validator=within(1, MANY))
    ascent: int = attrs.field(default=40, validator=within(0, MANY))
    length: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    at_most: int = attrs.field(default=4096, validator=within(2))
    coordinates: int = attrs.field(default=3, validator=within(0, MANY))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.nu, self.gamma, self.data)

    @property
    def names(self) -> tuple[str, ...]:
        return (
            "gap",
            "gap.low",
            "gap.error",
            "gap.ess",
            "gap.residual",
            "gap.F",
            *(f"gap.next.{i}" for i in range(self.coordinates)),
        )

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        noise, walkers = view.noise.at("gap"), system[self.nu]
        law = gibbs(view.coupling.energy(system, view.reducer), self.beta, walkers, self.gibbs, noise)
        theta, F = self._highest(law, system, view)
        gap, error = self._weighed(law, theta, F, system, view)
        halves = law.halves()
        crossed = [
            self._weighed(judge, *self._highest(seek, system, view), system, view)[0]
            for seek, judge in zip(halves, reversed(halves), strict=True)
        ]
        misfit, _ = residual(system, view, thinned(walkers, self.at_most, noise), self.beta, self.length)
        return {
            "gap": gap,
            "gap.low": sum(crossed) / 2 if crossed else gap,
            "gap.error": error,
            "gap.ess": law.ess,
            "gap.residual": misfit,
            "gap.F": F[0],
            **{f"gap.next.{i}": x for i, x in enumerate(theta[0, : self.coordinates])},
        }

    def _weighed(self, law: Law, theta: Tensor, F: Tensor, system: System, view: View) -> tuple[Tensor, Tensor]:
        """R sign(F) F(theta) - integral F dgamma under a law, and its error bar.

        It is the integral against law - data of one function: the energy of the measure R sign(F) delta_theta - gamma.
        """
        new, data = witness(system[self.gamma], theta, self.radius * F.sign()), system[self.data]
        g = view.coupling.energy(system.replace({self.gamma: new}), view.reducer)
        mean, error = law.mean(g)
        return mean - view.reducer.total(data, data.mass * g(data.points, Need.VALUE).value), error

    def _highest(self, law: Law, system: System, view: View) -> tuple[Tensor, Tensor]:
        """The parameter (1, p) with the largest |F| found under a law, and F there (1,)."""
        gamma = system[self.gamma]
        normal = view.noise.at("gap").normal_rows(range(self.starts), gamma.dim, gamma.points, "starts")
        starts = torch.cat([gamma.points, gamma.domain.sample(normal)])
        minus_F = view.coupling.bind(self.gamma, system.replace({self.nu: law.atoms}), view.reducer)
        theta, V = highest(minus_F, starts, gamma.domain, self.climbers, self.ascent)
        return theta, -V


def witness(gamma: Particles, theta: Tensor, mass: Tensor) -> Particles:
    """mass delta_theta - gamma."""
    points, sign = torch.cat([theta, gamma.points]), torch.cat([mass.sign(), -gamma.sign])
    return Particles(points, sign, torch.cat([mass.abs().log(), gamma.log_mass]), gamma.domain)
