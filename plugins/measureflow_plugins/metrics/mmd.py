"""Maximum mean discrepancy."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles, System
from measureflow.observe.metric import Metric, View


@final
@attrs.frozen
class Mmd(Metric):
    """MMD = (double integral of the kernel d(mu - nu)^2)^(1/2) between two positive measures, each taken as a probability.

    `kernel` is a feature that pairs points with points, `between` names the two. Writes "mmd", with every pair and so never
    negative: of the discrete measures it is exact, of the laws they were drawn from it is too large by O(size^-1/2); and
    "mmd.unbiased", which leaves out the pairs of an atom with itself: the square's unbiased estimate where atoms are
    independent, 0 in the mean where both laws agree, and then as often negative.
    """

    kind: ClassVar[str] = "mmd"
    kernel: Feature
    between: tuple[str, ...] = attrs.field(default=("nu", "data"))

    @between.validator
    def _two(self, _: object, value: tuple[str, ...]) -> None:
        if len(value) != 2:
            raise ValueError(f"names two measures, got {list(value)}")

    @property
    def reads(self) -> tuple[str, ...]:
        return self.between

    @property
    def names(self) -> tuple[str, ...]:
        return ("mmd", "mmd.unbiased")

    def measure(self, system: System, view: View) -> Mapping[str, Tensor | float]:
        total, pairs = view.reducer.total, []
        measures = [system[name] for name in self.between]
        masses = [mu.mass / total(mu, mu.mass) for mu in measures]
        cross = self._inner(0, 1, measures, masses, view)
        plain = unbiased = -2 * cross
        for i, (mu, m) in enumerate(zip(measures, masses, strict=True)):
            whole = self._inner(i, i, measures, masses, view)
            own, squares = total(mu, m.square() * diagonal(self.kernel, mu.points)), total(mu, m.square())
            pairs.append(squares)
            plain = plain + whole
            unbiased = unbiased + (whole - own) / (1 - squares)
        return {"mmd": plain.clamp(min=0).sqrt(), "mmd.unbiased": unbiased}

    def _inner(self, i: int, j: int, measures: list[Particles], masses: list[Tensor], view: View) -> Tensor:
        """Double integral of the kernel against measures i and j."""
        scale = view.reducer.total(measures[j], measures[j].mass)
        k = view.reducer.field(self.kernel, measures[i].points, measures[j], Need.VALUE).value / scale
        return view.reducer.total(measures[i], masses[i] * k)


def diagonal(phi: Feature, points: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """phi(x_i, x_i)."""
    if phi.form == "autograd":
        return torch.cat([phi.pair(x[None], x[None])[0] for x in points])
    X, Y = (lift.forward(points) for lift in phi.lifts)
    value: Tensor = phi.profile((X * Y).sum(1) if phi.form == "dot" else (X - Y).square().sum(1), 0)
    return value
