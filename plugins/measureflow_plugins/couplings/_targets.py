"""The targets of regression: a mark on the atoms of the data."""

from torch import Tensor

from measureflow.core.measure import Particles, System
from measureflow.errors import MeasureflowError

TARGETS = "y"


def targets(system: System, name: str) -> Tensor:
    """y (n,) of the measure `name`; raises MeasureflowError where it has none."""
    y = system[name].marks.get(TARGETS)
    if y is None:
        raise MeasureflowError(
            f"data: the measure {name!r} has no targets; name their column with targets = ... in the source 'file', "
            "or plant a network with the source 'regression'"
        )
    return y


def with_targets(mu: Particles, y: Tensor | None) -> Particles:
    """`mu` with targets y (n,) on its atoms, where there are any."""
    return mu if y is None else mu.replace(marks={**mu.marks, TARGETS: y})
