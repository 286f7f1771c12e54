"""Whether what came out lies in the stored bands."""

from collections.abc import Mapping
from typing import final

import attrs
import numpy as np

from measureflow_tools.analysis.groups import Group, curve
from measureflow_tools.analysis.levels import first_time
from measureflow_tools.analysis.runs import Run
from measureflow_tools.studies.study import Band, Check, ScaleName, Study


@final
@attrs.frozen
class Finding:
    """A check's figure, the band it was held against, and whether it lies inside; None where there is no figure or no band."""

    check: Check
    figure: float | None
    band: Band | None

    @property
    def inside(self) -> bool | None:
        if self.band is None:
            return None
        return self.figure is not None and self.band[0] <= self.figure <= self.band[1]


def findings(study: Study, scale: ScaleName, groups: Mapping[str, Group]) -> list[Finding]:
    """Every check of the study; `groups` by case, where a case that failed is missing."""
    return [Finding(check, _figure(check, study.metric, groups), check.band(scale)) for check in study.checks]


def _figure(check: Check, metric: str, groups: Mapping[str, Group]) -> float | None:
    needed = [case for case in (check.of, check.over) if case is not None]
    if any(case not in groups for case in needed):
        return None
    if check.kind == "speed-up":
        assert check.level is not None
        mine, theirs = (first_time(curve(groups[case], metric), check.clock, check.level) for case in needed)
        return theirs / mine if mine and theirs else None
    values = [_value(groups[case], check.metric or metric, check) for case in needed]
    return values[0] if len(values) == 1 else values[0] / values[1]


def _value(group: Group, metric: str, check: Check) -> float:
    """The median over seeds of each run's value: the median of its late rows, or that of its best row."""
    return float(
        np.median([_late(run, metric, check.after) if check.best is None else _best(run, metric, check.best) for run in group.runs])
    )


def _late(run: Run, metric: str, after: float) -> float:
    steps, values = run.series(metric)
    return float(np.median(values[steps >= after * run.experiment.steps]))


def _best(run: Run, metric: str, by: str) -> float:
    """The value at the first step at which `by` is least."""
    steps, chosen = run.series(by)
    own, values = run.series(metric)
    return float(values[own == steps[np.argmin(chosen)]][-1])


def words(finding: Finding) -> str:
    """One line: the figure, the band, where the band is from."""
    figure = "not reached" if finding.figure is None else f"{finding.figure:.4g}"
    if finding.band is None:
        return f"{finding.check.what}: {figure} (no band is stored at this scale)"
    low, high = finding.band
    verdict = "inside" if finding.inside else "OUTSIDE"
    return f"{finding.check.what}: {figure}, {verdict} {low:g} to {high:g} ({finding.check.source})"


def overall(found: list[Finding]) -> str:
    """The verdict in a sentence."""
    judged = [finding for finding in found if finding.inside is not None]
    outside = [finding.check.what for finding in judged if not finding.inside]
    if not judged:
        return "nothing to judge: no band is stored at this scale"
    if outside:
        return f"not reproduced: {len(outside)} of {len(judged)} figures lie outside their bands ({', '.join(outside)})"
    return f"reproduced: all {len(judged)} figures lie in their bands"
