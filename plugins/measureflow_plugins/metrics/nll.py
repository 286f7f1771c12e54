"""Negative log-likelihood of held-out points."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, Particles, System
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric, View
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.metrics._energies import learned
from measureflow_plugins.metrics._gibbs import Rule, gibbs


@final
@attrs.frozen
class Nll(Metric):
    """-mean log p over the measure `at`, p = exp(-beta f) / Z against tau: on spheres against the normalised uniform law.

    `area` = true takes densities against the area of the sphere instead, as the literature on earth data does: + log 4 pi on
    S^2. log Z is by quadrature on S^1 and S^2, elsewhere by annealed importance sampling, `gibbs` says how finely. Writes
    "nll"; "nll.log_z"; "nll.error", the error bar of log Z (quadrature: the distance to half the nodes; sampling: a standard
    error); "nll.ess", the effective share of the chains (1 by quadrature);
    for another measure than the test set, "nll.NAME" and so on.
    """

    kind: ClassVar[str] = "nll"
    at: str = "test"
    area: bool = False
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    gibbs: Rule = attrs.field(factory=Rule)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.at,)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._prefix + part for part in ("", ".log_z", ".error", ".ess"))

    @property
    def _prefix(self) -> str:
        return "nll" if self.at == "test" else f"nll.{self.at}"

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        at = system[self.at]
        unit = log_area(at) if self.area else 0.0
        law = gibbs(view.coupling.energy(system, view.reducer), self.beta, at, self.gibbs, view.noise)
        f = learned(system, view, at, Need.VALUE).value
        mean = view.reducer.total(at, at.mass * f) / view.reducer.total(at, at.mass)
        return {
            self._prefix: self.beta * mean + law.log_z + unit,
            f"{self._prefix}.log_z": law.log_z,
            f"{self._prefix}.error": law.error,
            f"{self._prefix}.ess": law.ess,
        }


def log_area(at: Particles) -> float:
    """log of the area 2 pi^(d/2) / Gamma(d/2) of the sphere that `at` lives on; raises MeasureflowError elsewhere."""
    if not isinstance(at.domain, Sphere):
        raise MeasureflowError(f"metrics: nll: area = true is for data on a sphere, these live on {at.domain.kind}; remove it")
    return math.log(2) + 0.5 * at.dim * math.log(math.pi) - math.lgamma(0.5 * at.dim)
