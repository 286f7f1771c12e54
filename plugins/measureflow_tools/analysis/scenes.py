"""Scenes: what can be drawn of a run's snapshots, and what to say where it cannot."""

from typing import final

import attrs

from measureflow.api import Built, MeasureflowError, Particles, Registry, Space, System
from measureflow.errors import unknown
from measureflow_tools.analysis.charts import DATA, TEACHER, Chart, chart_of
from measureflow_tools.analysis.runs import Run, rebuilt
from measureflow_tools.analysis.snapshots import snapshots

NEURONS = "gamma"


@final
@attrs.frozen(eq=False)
class Scene:
    """A run and its snapshots."""

    run: Run
    systems: tuple[System, ...]
    registry: Registry

    @property
    def last(self) -> System:
        return self.systems[-1]

    def ground(self) -> Chart:
        """The chart of the data's space; raises MeasureflowError where no measure lives there."""
        home = self.run.experiment.data.space()
        names = (DATA, *self.moving, *self.last.measures)
        name = next((n for n in names if n in self.last and Space(self.last[n].domain, self.last[n].dim) == home), None)
        if name is None:
            raise MeasureflowError(f"{self.run.folder}: no measure lives where the data do; --what neurons draws the others")
        return chart_of(self.last, name)

    def whole_ground(self, what: str) -> Chart:
        """The same, where a page shows all of it; raises MeasureflowError elsewhere."""
        chart = self.ground()
        if not chart.whole:
            space = chart.space
            raise MeasureflowError(
                f"{self.run.folder}: no {what} can be drawn on the {space.domain.kind} in d = {space.dim}, only on S^1, S^2, the "
                "plane and the torus of two angles; --what neurons draws a projection"
            )
        return chart

    @property
    def moving(self) -> tuple[str, ...]:
        return tuple(self.run.experiment.measures)

    def neurons(self, name: str | None = None) -> str:
        """The measure to draw as neurons: as asked, gamma, or the first that moves; raises MeasureflowError."""
        if name is not None and name not in self.last:
            raise MeasureflowError(f"{self.run.folder}: {unknown('measure', name, self.last.measures)}")
        return name or (NEURONS if NEURONS in self.last else self.moving[0])

    def particles(self, chart: Chart) -> Particles | None:
        """The first moving measure, other than neurons, that the chart shows."""
        return next((self.last[n] for n in self.moving if n != NEURONS and chart.shows(self.last[n])), None)

    def data(self, chart: Chart) -> Particles | None:
        """The data, if the energy is learned from them and the chart shows them."""
        learned_from = DATA in self.run.experiment.coupling.reads and DATA in self.last
        return self.last[DATA] if learned_from and chart.shows(self.last[DATA]) else None

    def at(self, step: int | None) -> "Scene":
        """The snapshots up to a step; raises MeasureflowError if there is none at it."""
        if step is None:
            return self
        steps = [system.step for system in self.systems]
        if step not in steps:
            raise MeasureflowError(f"{self.run.folder}: no snapshot at step {step:,}; there are {', '.join(map(str, steps))}")
        return attrs.evolve(self, systems=self.systems[: steps.index(step) + 1])

    def built(self) -> Built:
        """The experiment built again; raises MeasureflowError where it cannot be."""
        return rebuilt(self.run, self.registry)

    def teacher(self, chart: Chart) -> Particles | None:
        """The planted neurons, where the chart shows them."""
        return self.last[TEACHER] if TEACHER in self.last and chart.shows(self.last[TEACHER]) else None


def scene(run: Run, registry: Registry) -> Scene:
    """A run with its snapshots; raises MeasureflowError where it has none."""
    return Scene(run, tuple(snapshots(run.folder, registry)), registry)
