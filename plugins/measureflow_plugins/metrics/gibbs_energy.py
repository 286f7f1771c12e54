"""How far the samples' energy is from the learned Gibbs law's."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Need, System
from measureflow.core.schedule import within
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._gibbs import Rule, gibbs


@final
@attrs.frozen
class GibbsEnergy(Metric):
    """Mean of f under the measure `of` minus its mean under the learned Gibbs law exp(-beta f) dtau / Z.

    0 where the samples have converged for the energy as it is now; negative where they sit deeper. The law is integrated as
    `gibbs` says. Writes "gibbs-energy", "gibbs-energy.law" (the law's mean), "gibbs-energy.error" (the law's error bar) and
    "gibbs-energy.ess" (the effective share of the chains, 1 by quadrature).
    """

    kind: ClassVar[str] = "gibbs-energy"
    of: str = "nu"
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    gibbs: Rule = attrs.field(factory=Rule)

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("gibbs-energy", "gibbs-energy.law", "gibbs-energy.error", "gibbs-energy.ess")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu, f = system[self.of], view.coupling.energy(system, view.reducer)
        law = gibbs(f, self.beta, mu, self.gibbs, view.noise)
        mean, error = law.mean(f)
        total = view.reducer.total(mu, mu.mass)
        here = view.reducer.total(mu, mu.mass * f(mu.points, Need.VALUE).value) / total
        return {
            "gibbs-energy": here - mean,
            "gibbs-energy.law": mean,
            "gibbs-energy.error": error,
            "gibbs-energy.ess": law.ess,
        }
