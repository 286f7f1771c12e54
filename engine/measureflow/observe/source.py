"""Where data, teachers and initial measures come from."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Particles
from measureflow.core.noise import Noise
from measureflow.errors import MeasureflowError


@final
@attrs.frozen(eq=False)
class Setting:
    """What a source makes its tensors with: keyed noise, a dtype and a device."""

    noise: Noise
    dtype: torch.dtype
    device: torch.device

    def tensor(self, values: object) -> Tensor:
        """`values` as a tensor of this dtype on this device."""
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)


@final
@attrs.frozen(eq=False)
class Truth:
    """What is known exactly about a planted world, whose density is exp(-f*) dtau / Z with f* = integral phi dteacher.

    `feature` is the teacher's own phi; `log_z` = log integral exp(-f*) dtau; `energy_mean` is the mean of f* under the
    planted law; `lower_bound` a proved lower bound of f*.
    """

    feature: Feature
    log_z: float
    energy_mean: float
    lower_bound: float


@final
@attrs.frozen(eq=False)
class World:
    """What a source yields: the space of the data, the measures "data", "test" and, where planted, "teacher" with its truth."""

    space: Space
    measures: Mapping[str, Particles]
    truth: Truth | None = None

    @property
    def data(self) -> Particles:
        """The measure "data"; raises MeasureflowError, as an init does, where the source brings none."""
        if "data" not in self.measures:
            raise MeasureflowError("kind: it starts from the data, and there are none; start it from 'uniform' or 'file'")
        return self.measures["data"]


class Source(ABC):
    """Where the data come from.

    Write one for a new kind of data. A subclass is a final frozen attrs class with a `kind`; implement

    - `space()`: where the data live;
    - `sizes()`: how many atoms each measure of its world has, without making them (memory is checked first);
    - `world(setting)`: the measures themselves, drawn from `setting.noise` only.

    Raise MeasureflowError with the key, the value and what would have worked.
    """

    family: ClassVar[str] = "source"
    kind: ClassVar[str]

    @abstractmethod
    def space(self) -> Space:
        """Domain and ambient dimension of the data."""

    @abstractmethod
    def sizes(self) -> Mapping[str, int]:
        """Number of atoms of each measure, by name."""

    @abstractmethod
    def world(self, setting: Setting) -> World:
        """The data, the test set and, where there is one, the teacher."""


class Init(ABC):
    """How a moving measure starts.

    Write one for a new start. A subclass is a final frozen attrs class with a `kind`; implement `atoms(sizes)`, the number
    of atoms given those of the world's measures, and `measure(space, world, setting)`, the measure itself on `space`. Raise
    MeasureflowError that begins with the key, `path: ...`, and ends with what would have worked.
    """

    family: ClassVar[str] = "init"
    kind: ClassVar[str]

    @abstractmethod
    def atoms(self, sizes: Mapping[str, int]) -> int:
        """Number of atoms, given the sizes of the world's measures."""

    @abstractmethod
    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        """The initial measure on `space`."""


def settle(points: Float[Tensor, "n d"], space: Space, normalise: bool, where: str) -> Float[Tensor, "n d"]:
    """Points checked to be finite, not empty, of the right width and on the domain; raises MeasureflowError."""
    if points.ndim != 2 or 0 in points.shape:
        raise MeasureflowError(f"{where}: holds no points: an array (n, d) with n, d >= 1 is needed, this is {tuple(points.shape)}")
    if not bool(torch.isfinite(points).all()):
        row = int((~torch.isfinite(points).all(1)).nonzero()[0])
        raise MeasureflowError(f"{where}: row {row} is not finite ({points[row].tolist()}); remove or mend such rows")
    if points.shape[1] != space.dim:
        raise MeasureflowError(
            f"{where}: points have d = {points.shape[1]}, this measure lives in d = {space.dim}; give it points of that width"
        )
    if normalise:
        points = space.domain.project(points)
    off = space.domain.distance_to(points)
    worst = int(off.argmax())
    if normalise and float(off[worst]) > 1e-3:
        raise MeasureflowError(f"{where}: row {worst} has no nearest point on the {space.domain.kind}; remove such rows")
    if float(off[worst]) > 1e-3:
        raise MeasureflowError(
            f"{where}: row {worst} is {float(off[worst]):.3g} away from the {space.domain.kind}; "
            "normalise = true projects every row on it"
        )
    return space.domain.project(points)
