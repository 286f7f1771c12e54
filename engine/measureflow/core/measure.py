"""Measures, fields and the system: frozen data that flows move and couplings read."""

import enum
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import attrs
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow import notebook
from measureflow.core.domain import Domain


class Measure(ABC):
    """A signed measure on a domain.

    The engine moves `Particles`; subclass `Measure` only for another representation (a grid, a Gaussian), and write the
    flows that can move it. A measure says where it lives (`domain`), of how many pieces it consists (`size`) and its
    total mass (`total`, 0-d, so that nothing waits for a device). Measures are frozen: a flow returns a new one.
    """

    @property
    @abstractmethod
    def domain(self) -> Domain:
        """The geometry its atoms live in."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of pieces held here."""

    @property
    @abstractmethod
    def total(self) -> Float[Tensor, ""]:
        """Signed mass of the pieces held here."""


def _frozen_tensors(marks: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return MappingProxyType(dict(marks))


@final
@attrs.frozen(eq=False)
class Particles(Measure):
    """`sum_i sign_i exp(log_mass_i) delta(points_i)`: signs carry the Hahn parts, masses move in the log domain.

    points (M, d); sign (M,), +1 or -1, never changed by a multiplicative reaction; log_mass (M,), where the paper's
    weight w_j is `M * exp(log_mass_j)`. Equal masses are stored once and broadcast (stride 0), which `equal` reads off
    without touching data. `marks` are named tensors (M, ...) that belong to the atoms and travel with them. A block of a
    larger measure knows its place: rows `offset` to `offset + M` of `whole`. Raises ValueError where shapes, devices or
    dtypes differ; no data is read.
    """

    points: Float[Tensor, "M d"]
    sign: Float[Tensor, " M"]
    log_mass: Float[Tensor, " M"]
    domain: Domain
    marks: Mapping[str, Tensor] = attrs.field(factory=dict, converter=_frozen_tensors)
    offset: int = 0
    whole: int = attrs.field()

    @whole.default
    def _itself(self) -> int:
        return self.offset + self.points.shape[0]

    def __attrs_post_init__(self) -> None:
        if self.points.ndim != 2:
            raise ValueError(f"points must be (M, d), got shape {tuple(self.points.shape)}")
        for name, tensor in (("sign", self.sign), ("log_mass", self.log_mass)):
            if tensor.shape != self.points.shape[:1]:
                raise ValueError(f"{name} must be ({self.size},), got shape {tuple(tensor.shape)}")
            if (tensor.device, tensor.dtype) != (self.points.device, self.points.dtype):
                raise ValueError(
                    f"{name} is {tensor.dtype} on {tensor.device}, points are {self.points.dtype} on {self.points.device}"
                )
        for name, mark in self.marks.items():
            if mark.shape[:1] != self.points.shape[:1]:
                raise ValueError(f"mark {name!r} must start with {self.size} rows, got shape {tuple(mark.shape)}")

    @classmethod
    def uniform(cls, points: Tensor | np.ndarray, domain: Domain, total: float = 1.0, negative: int = 0) -> "Particles":
        """Atoms of equal mass `total / M` at points (M, d), a tensor or an array, the first `negative` with a minus sign."""
        points = torch.as_tensor(points)
        one = points.new_ones(1)
        log_mass = one * math.log(total / max(points.shape[0], 1))
        sign = one.expand(points.shape[0])
        if negative:
            sign = sign.clone()
            sign[:negative] = -1
        return cls(points, sign, log_mass.expand(points.shape[0]), domain)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], domain: Domain, offset: int = 0, whole: int | None = None) -> "Particles":
        """The measure whose `tensors` these are."""
        marks = {name.removeprefix("marks."): tensor for name, tensor in tensors.items() if name.startswith("marks.")}
        points, sign, log_mass = (tensors[name] for name in ("points", "sign", "log_mass"))
        return cls(points, sign, log_mass, domain, marks, offset, offset + len(points) if whole is None else whole)

    @property
    def size(self) -> int:
        return int(self.points.shape[0])

    @property
    def dim(self) -> int:
        """Ambient dimension d of the points."""
        return int(self.points.shape[1])

    @property
    def rows(self) -> range:
        """The rows of the whole measure that are held here."""
        return range(self.offset, self.offset + self.size)

    @property
    def equal(self) -> bool:
        """True where every atom is known to carry the same signed mass."""
        return self.size > 0 and self.sign.stride(0) == 0 and self.log_mass.stride(0) == 0

    @functools.cached_property
    def mass(self) -> Float[Tensor, " M"]:
        """`sign * exp(log_mass)`, computed at its first use."""
        if self.equal:
            return (self.sign[:1] * self.log_mass[:1].exp()).expand(self.size)
        return self.sign * self.log_mass.exp()

    @property
    def total(self) -> Float[Tensor, ""]:
        return self.mass.sum()

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor (M, ...) by name, marks as `marks.NAME`; the points last."""
        marks = {f"marks.{name}": mark for name, mark in self.marks.items()}
        return {**marks, "sign": self.sign, "log_mass": self.log_mass, "points": self.points}

    def to(self, device: torch.device) -> "Particles":
        """The same measure on another device; masses that are all equal stay stored once."""
        return Particles.of(
            {key: _moved(tensor, device) for key, tensor in self.tensors.items()}, self.domain, self.offset, self.whole
        )

    def shares(self, other: "Particles") -> bool:
        """Whether the two keep their points in the same memory."""
        return self.points.untyped_storage().data_ptr() == other.points.untyped_storage().data_ptr()

    def take(self, index: Tensor) -> "Particles":
        """The atoms at `index` (k,), marks included, as a measure of their own."""
        marks = {name: mark[index] for name, mark in self.marks.items()}
        return Particles(self.points[index], self.sign[index], self.log_mass[index], self.domain, marks)

    def block(self, start: int, stop: int) -> "Particles":
        """Rows `start` to `stop` of this measure, as views that know their place in the whole."""
        marks = {name: mark[start:stop] for name, mark in self.marks.items()}
        sign, log_mass = self.sign[start:stop], self.log_mass[start:stop]
        return Particles(self.points[start:stop], sign, log_mass, self.domain, marks, self.offset + start, self.whole)

    def replace(self, **changes: Any) -> "Particles":
        """The same atoms with some fields changed."""
        kept = {field: getattr(self, field) for field in _FIELDS if field not in changes}
        return Particles(**kept, **changes)

    def __repr__(self) -> str:
        p = self.points
        return f"Particles({self.size} x {self.dim} on {self.domain}, {str(p.dtype)[6:]}, {p.device})"

    def summary(self) -> dict[str, object]:
        """What a notebook shows of it: sizes, where it lives, and the one number that is read, its mass."""
        p = self.points
        kept = {"dtype": str(p.dtype)[6:], "device": p.device, "marks": ", ".join(self.marks)}
        return {"atoms": f"{self.size:,}", "d": self.dim, "domain": self.domain, **kept, "mass": f"{float(self.total):.6g}"}

    def _repr_html_(self) -> str:
        return notebook.table("Particles", [self.summary()])


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy of an expanded tensor would be dense: its one row is copied, and expanded there."""
    once = tensor.ndim > 0 and tensor.shape[0] > 0 and tensor.stride(0) == 0
    return tensor[:1].to(device).expand(tensor.shape) if once else tensor.to(device)


_FIELDS = tuple(field.name for field in attrs.fields(Particles))


class Need(enum.Flag):
    """What is asked of a potential: nothing else is computed."""

    VALUE = enum.auto()
    GRAD = enum.auto()
    BOTH = VALUE | GRAD


@final
@attrs.frozen(eq=False)
class Field:
    """A function at n points: `value (n,)` and `grad (n, d)`; what was not asked for is absent and raises when read."""

    maybe_value: Float[Tensor, " n"] | None = None
    maybe_grad: Float[Tensor, "n d"] | None = None

    @property
    def value(self) -> Float[Tensor, " n"]:
        if self.maybe_value is None:
            raise ValueError("this field was asked for without Need.VALUE")
        return self.maybe_value

    @property
    def grad(self) -> Float[Tensor, "n d"]:
        if self.maybe_grad is None:
            raise ValueError("this field was asked for without Need.GRAD")
        return self.maybe_grad

    def scale(self, factor: float | Tensor) -> "Field":
        """`factor` times this field; a 0-d tensor or a number."""
        if isinstance(factor, float) and factor == 1.0:
            return self
        value, grad = self.maybe_value, self.maybe_grad
        return Field(None if value is None else value * factor, None if grad is None else grad * factor)

    def plus(self, other: "Field", factor: float = 1.0) -> "Field":
        """This field plus `factor` times another, asked for with the same need."""
        value = None if self.maybe_value is None else torch.add(self.value, other.value, alpha=factor)
        grad = None if self.maybe_grad is None else torch.add(self.grad, other.grad, alpha=factor)
        return Field(value, grad)


def _frozen_measures(measures: Mapping[str, Particles]) -> Mapping[str, Particles]:
    return MappingProxyType(dict(measures))


@final
@attrs.frozen(eq=False)
class System:
    """Every measure at one time: `measures` by name, `step` steps done, `time` = sum of the steps' sizes h."""

    measures: Mapping[str, Particles] = attrs.field(converter=_frozen_measures)
    step: int = 0
    time: float = 0.0

    def __getitem__(self, name: str) -> Particles:
        return self.measures[name]

    def __contains__(self, name: str) -> bool:
        return name in self.measures

    def __repr__(self) -> str:
        held = "".join(f", {name}={mu!r}" for name, mu in self.measures.items())
        return f"System(step={self.step}, time={self.time:.6g}{held})"

    def _repr_html_(self) -> str:
        rows = [{"measure": name, **mu.summary()} for name, mu in self.measures.items()]
        return notebook.table(f"System at step {self.step}, time {self.time:.6g}", rows)

    def replace(self, moved: Mapping[str, Particles]) -> "System":
        """The same instant with some measures changed."""
        return System({**self.measures, **moved}, self.step, self.time)

    def tick(self, h: float) -> "System":
        """The same measures, one step of size `h` later."""
        return System(self.measures, self.step + 1, self.time + h)
