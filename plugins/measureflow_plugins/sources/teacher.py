"""A planted world: exact samples of exp(-f*) on a sphere, f* a few ReLU neurons."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs
import numpy as np
import torch

from measureflow.core.domain import Space
from measureflow.core.measure import Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Setting, Source, Truth, World
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.sources._neurons import Neurons, as_neurons
from measureflow_plugins.sources._planted import Planted

LEAST_ACCEPTANCE = 1e-6


@final
@attrs.frozen
class Teacher(Source):
    """f*(x) = mean_j a_j relu(<theta*_j, x>) on S^{d-1}: `train` and `test` exact samples of exp(-f*) dtau / Z.

    neurons: "monomodal", "bimodal", "sphere-146", "sphere-90", a list of vectors, or {angle = 1.37, dim = 15}; weights a_j.
    Rejection is exponential in the weights: refused with its figure below an acceptance of 1e-6.
    """

    kind: ClassVar[str] = "teacher"
    neurons: Any = attrs.field(converter=as_neurons)
    weights: tuple[float, ...]
    train: int = attrs.field(validator=within(1))
    test: int = attrs.field(default=0, validator=within(0))

    def __attrs_post_init__(self) -> None:
        if len(self.weights) != len(self.neurons):
            raise ValueError(f"{len(self.neurons)} neurons need as many weights, got {list(self.weights)}")
        if not all(math.isfinite(a) and a != 0 for a in self.weights):
            raise ValueError(f"weights must be finite and not 0, got {list(self.weights)}")
        if len(self.weights) > 16:
            raise ValueError(f"the bound of f* goes through all subsets of neurons: at most 16, got {len(self.weights)}")

    def space(self) -> Space:
        return Space(Sphere(), len(self.neurons[0]))

    def sizes(self) -> Mapping[str, int]:
        return {"data": self.train, "teacher": len(self.weights)} | ({"test": self.test} if self.test else {})

    def world(self, setting: Setting) -> World:
        planted = self.planted()
        log_z, mean = planted.moments()
        acceptance = math.exp(log_z + planted.lower_bound)
        if not acceptance >= LEAST_ACCEPTANCE:
            raise MeasureflowError(
                f"data.weights: exact sampling would accept {acceptance:.2g} of its proposals, less than {LEAST_ACCEPTANCE:g}; "
                f"lower the weights (now {list(self.weights)}) or the angle between neurons that pull together"
            )
        space = self.space()
        drawn = planted.sample(self.train + self.test, acceptance, _generator(setting), str(setting.dtype).removeprefix("torch."))
        points = setting.tensor(drawn)
        points = space.domain.project(points)
        measures = {
            "data": Particles.uniform(points[: self.train], space.domain),
            "teacher": self._teacher(setting, space),
        }
        if self.test:
            measures["test"] = Particles.uniform(points[self.train :], space.domain)
        return World(space, measures, Truth(Relu(), log_z, mean, planted.lower_bound))

    def planted(self) -> Planted:
        """The planted law, in float64."""
        return Planted(np.array(self.neurons), np.array(self.weights))

    def _teacher(self, setting: Setting, space: Space) -> Particles:
        weights = setting.tensor(self.weights)
        points: Neurons = self.neurons
        return Particles(setting.tensor(points), weights.sign(), torch.log(weights.abs() / len(self.weights)), space.domain)


def _generator(setting: Setting) -> np.random.Generator:
    """A generator of its own for rejection, whose number of draws is not known beforehand; keyed like all noise."""
    words = setting.noise.index_rows(range(4), 2**31, setting.tensor([]), "rejection").tolist()
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(repr(words).encode()).digest(), "little")))
