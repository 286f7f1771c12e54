"""What several metrics share: the learned energy and the teacher's, at the points of a measure."""

from measureflow.core.measure import Field, Need, Particles, System
from measureflow.observe.metric import View


def learned(system: System, view: View, at: Particles, need: Need) -> Field:
    """The learned energy f at the points of `at`."""
    return view.coupling.energy(system, view.reducer.at(at))(at.points, need)


def taught(system: System, view: View, at: Particles, need: Need) -> Field:
    """The teacher's energy f* at the points of `at`."""
    return view.reducer.at(at).field(view.planted.feature, at.points, system["teacher"], need)
