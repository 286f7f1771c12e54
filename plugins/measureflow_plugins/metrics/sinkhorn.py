"""Sinkhorn divergence, through geomloss."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.metric import Metric, View
from measureflow_plugins.metrics._samples import probability, thinned


@final
@attrs.frozen
class Sinkhorn(Metric):
    """Debiased entropic transport cost between two positive measures, each taken as a probability (Feydy et al. 2019).

    The cost of a pair is |x - y|^p / p in ambient coordinates, the entropy's scale is `blur`^p; blur -> 0 gives the p-th
    power of the Wasserstein distance over p, blur -> infinity an MMD. Above `at_most` atoms a random part of each is used.
    Needs geomloss (pip install "measureflow[sinkhorn]").
    """

    kind: ClassVar[str] = "sinkhorn"
    between: tuple[str, ...] = attrs.field(default=("nu", "data"))
    p: int = attrs.field(default=2, validator=attrs.validators.in_((1, 2)))
    blur: float = attrs.field(default=0.05, validator=within(0.0, open_low=True))
    scaling: float = attrs.field(default=0.5, validator=within(0.0, 0.99, open_low=True))
    at_most: int = attrs.field(default=2048, validator=within(1))

    @between.validator
    def _two(self, _: object, value: tuple[str, ...]) -> None:
        if len(value) != 2:
            raise ValueError(f"names two measures, got {list(value)}")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.between

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        loss = _geomloss().SamplesLoss("sinkhorn", p=self.p, blur=self.blur, scaling=self.scaling, backend="tensorized")
        noise = view.noise.at("sinkhorn")
        mu, nu = (self._part(system[name], noise.at(i)) for i, name in enumerate(self.between))
        return {"sinkhorn": loss(mu.mass, mu.points, nu.mass, nu.points)}

    def _part(self, mu: Particles, noise: Any) -> Particles:
        return probability(thinned(mu, self.at_most, noise))


def _geomloss() -> Any:
    """The geomloss module; raises MeasureflowError that says what to install."""
    try:
        return importlib.import_module("geomloss")
    except ImportError as error:
        raise MeasureflowError(
            f'metrics: sinkhorn needs geomloss, which cannot be imported ({error}); pip install "measureflow[sinkhorn]"'
        ) from None
