"""Sampling a known energy."""

from collections.abc import Mapping
from typing import Any, ClassVar, final

import attrs
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, System
from measureflow.core.schedule import within
from measureflow.dynamics.coupling import Coupling, Linear, Potential
from measureflow.errors import MeasureflowError, unknown
from measureflow.reduction.reducer import Reducer
from measureflow_plugins.couplings._function import Differentiated, Function
from measureflow_plugins.couplings._known import KNOWN, Known


def _given(_instance: Any, _attribute: Any, value: str | Function | None) -> None:
    if isinstance(value, str) and value not in KNOWN:
        raise ValueError(unknown("energy", value, KNOWN))
    if not (value is None or isinstance(value, str) or callable(value)):
        raise TypeError(f"energy: expected a name or a torch function of points (n, d), got {value!r:.60}")


@final
@attrs.frozen
class Gibbs(Coupling):
    """E(nu) = integral U dnu, so that Langevin samples exp(-U/T) dtau: U does not move.

    U is a test energy, `energy` "gaussian", "double-well" or "banana" on R^d or "von-mises-fisher" on the sphere, of the
    given `strength`; or U(x) = integral phi(x, theta) dmeasure(theta) for a `feature` and a `measure` that stands still, by
    default the planted teacher. Give one of the two. In Python `energy` may also be any torch function of points (n, d) with
    values (n,), a torch.nn.Module for instance, which torch differentiates in blocks of rows.
    """

    kind: ClassVar[str] = "gibbs"
    given: str | Function | None = attrs.field(default=None, alias="energy", validator=_given)
    strength: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))
    feature: Feature | None = None
    measure: str = "teacher"
    nu: str = "nu"

    def __attrs_post_init__(self) -> None:
        if (self.given is None) == (self.feature is None):
            raise ValueError(f"give either energy, one of {', '.join(sorted(KNOWN))}, or a feature and a measure")
        if callable(self.given) and self.strength != 1.0:
            raise ValueError("strength is that of a named energy; multiply your own function instead")

    @property
    def moves(self) -> tuple[str, ...]:
        return (self.nu,)

    @property
    def reads(self) -> tuple[str, ...]:
        return () if self.feature is None else (self.measure,)

    def spaces(self, x: Space) -> Mapping[str, Space]:
        known = self.known
        if known is not None and (x.domain.kind != known.on or x.dim < known.least):
            raise MeasureflowError(
                f"coupling (gibbs): energy {self.given!r} is on the domain {known.on!r} with dim >= {known.least}, the data "
                f"on {x.domain.kind!r} with dim = {x.dim}: give the source that domain, or take another energy"
            )
        return {self.nu: x} if self.feature is None else {self.nu: x, self.measure: self.feature.parameter_space(x)}

    def bind(self, name: str, system: System, reducer: Reducer) -> Potential:
        return self.energy(system, reducer)

    def value(self, system: System, reducer: Reducer) -> Tensor:
        nu = system[self.nu]
        return reducer.total(nu, nu.mass * self.energy(system, reducer.at(nu))(nu.points, Need.VALUE).value)

    def energy(self, system: System, reducer: Reducer) -> Potential:
        known = self.known
        if known is not None:
            return known
        if callable(self.given):
            return Differentiated(self.given)
        assert self.feature is not None
        return Linear(reducer, self.feature, ((1.0, system[self.measure]),))

    @property
    def known(self) -> Known | None:
        """The test energy, with its exact moments, where one is named."""
        return KNOWN[self.given](self.strength) if isinstance(self.given, str) else None
