"""Distance of a measure's moments from the known ones of a test energy."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric, View
from measureflow_plugins.couplings.gibbs import Gibbs
from measureflow_plugins.domains.euclidean import Euclidean


@final
@attrs.frozen
class MomentErrors(Metric):
    """Largest error of a coordinate's mean and of its variance in the probability measure `of`, for gibbs with a test energy.

    Against exp(-U/T) at the given `temperature` T, with respect to Lebesgue measure or the uniform law of the sphere. Writes
    "moments.mean" and "moments.variance".
    """

    kind: ClassVar[str] = "moments"
    parts: ClassVar[bool] = True
    of: str = "nu"
    temperature: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.of,)

    @property
    def names(self) -> tuple[str, ...]:
        return ("moments.mean", "moments.variance")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        mu, coupling = system[self.of], view.coupling
        known = coupling.known if isinstance(coupling, Gibbs) else None
        if known is None or (isinstance(mu.domain, Euclidean) and not mu.domain.flat):
            raise MeasureflowError("metrics (moments): are known for coupling gibbs with a test energy on a flat base; remove it")
        mean, variance = (mu.points.new_tensor(part) for part in known.moments(mu.dim, self.temperature))
        own = view.reducer.total(mu, mu.mass[:, None] * mu.points)
        spread = view.reducer.total(mu, mu.mass[:, None] * (mu.points - own).square())
        return {"moments.mean": (own - mean).abs().max(), "moments.variance": (spread - variance).abs().max()}
