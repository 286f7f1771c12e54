"""A planted two-layer network to regress on."""

import math
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch

from measureflow.core.domain import Domain, Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, Source, World, settle
from measureflow.reduction.chunked import Chunked
from measureflow_plugins.couplings._targets import with_targets
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu


def _weights(_instance: object, attribute: object, value: tuple[float, ...]) -> None:
    if not value or not all(math.isfinite(a) and a != 0 for a in value):
        raise ValueError(f"weights must be one finite number, not 0, for each neuron, got {list(value)}")


@final
@attrs.frozen
class PlantedNetwork(Source):
    """y = f*(x), f*(x) = mean_j a_j phi(x, theta*_j): `train` points with targets (mark "y"), `test` points, "teacher".

    x is drawn from the base law of `domain` in `dim` dimensions. `weights` a_j say how many neurons there are; theta*_j
    are the rows of `neurons`, projected on the feature's parameter space, or else draws of its initial law. `noise` is
    the standard deviation of a Gaussian error on the training targets; test targets are exact.
    """

    kind: ClassVar[str] = "regression"
    weights: tuple[float, ...] = attrs.field(validator=_weights)
    dim: int = attrs.field(validator=within(1))
    train: int = attrs.field(validator=within(1))
    test: int = attrs.field(default=0, validator=within(0))
    noise: float = attrs.field(default=0.0, validator=within(0.0))
    neurons: tuple[tuple[float, ...], ...] | None = None
    feature: Feature = attrs.field(factory=Relu)
    domain: Domain = attrs.field(factory=Sphere)

    def __attrs_post_init__(self) -> None:
        if self.neurons is not None and len(self.neurons) != len(self.weights):
            raise ValueError(f"{len(self.neurons)} neurons need as many weights, got {list(self.weights)}")
        if self.neurons is not None and len({len(row) for row in self.neurons}) != 1:
            raise ValueError(f"neurons must be vectors of one length, got {[list(row) for row in self.neurons]}")

    def space(self) -> Space:
        return Space(self.domain, self.dim)

    def sizes(self) -> Mapping[str, int]:
        return {"data": self.train, "teacher": len(self.weights)} | ({"test": self.test} if self.test else {})

    def world(self, setting: Setting) -> World:
        teacher = self._teacher(setting)
        measures = {"data": self._labelled(setting, "data", self.train, teacher), "teacher": teacher}
        if self.test:
            measures["test"] = self._labelled(setting, "test", self.test, teacher)
        return World(self.space(), measures)

    def _teacher(self, setting: Setting) -> Particles:
        home = self.feature.parameter_space(self.space())
        if self.neurons is None:
            rows = setting.noise.normal_rows(range(len(self.weights)), home.dim, setting.tensor([]), "teacher")
            points = home.domain.sample(rows)
        else:
            points = settle(setting.tensor(self.neurons), home, True, "data.neurons")
        a = setting.tensor(self.weights)
        return Particles(points, a.sign(), torch.log(a.abs() / len(self.weights)), home.domain)

    def _labelled(self, setting: Setting, name: str, size: int, teacher: Particles) -> Particles:
        rows = range(size)
        x = self.domain.sample(setting.noise.normal_rows(rows, self.dim, setting.tensor([]), name))
        try:
            y = Chunked().field(self.feature, x, teacher, Need.VALUE).value
        except ValueError as error:
            raise MeasureflowError(f"data.feature: {error}") from None
        if self.noise and name == "data":
            y = y + self.noise * setting.noise.normal_rows(rows, 1, x, "noise")[:, 0]
        return with_targets(Particles.uniform(x, self.domain), y)
