"""What a study file says: one experiment, its cases, its scales, and what must come out."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, final

import attrs

from measureflow.api import MeasureflowError, Registry
from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.core.schedule import within
from measureflow.errors import ConfigError, unknown
from measureflow_tools.sweeps.grid import MOST
from measureflow_tools.sweeps.members import FITS, Member

SMALL, PAPER = "small", "paper"
ScaleName = Literal["small", "paper"]
Band = tuple[float, ...]


def _ordered(_: Any, attribute: Any, value: Band | None) -> None:
    if value is not None and not (len(value) == 2 and value[0] <= value[1]):
        raise ValueError(f"{attribute.name} = {list(value)}: two numbers are needed, the lower one first")


@final
@attrs.frozen
class Check:
    """A figure and the band in which it must lie, at each scale that has one.

    kind "speed-up": how many times sooner than `over` the case `of` is at or below `level` of the study's metric, on `clock`.
    kind "value": the median of `metric` over the rows after the share `after` of the steps, and over the seeds; with `over`, that
    of `of` divided by that of `over`. With `best`, not of late rows but at the one where that metric is least, as where a
    validation set chooses the step. source: where the bands come from.
    """

    what: str
    kind: Literal["speed-up", "value"]
    of: str
    source: str
    over: str | None = None
    clock: str = "iterations"
    level: float | None = None
    metric: str | None = None
    best: str | None = None
    after: float = attrs.field(default=0.875, validator=within(0.0, 1.0))
    small: Band | None = attrs.field(default=None, validator=_ordered)
    paper: Band | None = attrs.field(default=None, validator=_ordered)

    def __attrs_post_init__(self) -> None:
        if self.kind == "speed-up" and (self.over is None or self.level is None):
            raise ValueError(f"{self.what!r}: a speed-up needs over, the case it is held against, and level")

    def band(self, scale: ScaleName) -> Band | None:
        """The band at a scale; None where none is stored."""
        return self.small if scale == SMALL else self.paper


@final
@attrs.frozen(eq=False)
class Scale:
    """How large a study is: dotted changes for all cases and for single ones, and the number of seeds."""

    settings: dict[str, Any] = attrs.field(factory=dict)
    cases: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    seeds: int = attrs.field(default=1, validator=within(1, MOST))


@final
@attrs.frozen(eq=False)
class Study:
    """A published experiment: `cases` are dotted changes of the experiment, by name; `metric` is compared at `levels`."""

    title: str
    source: str
    metric: str
    cases: dict[str, dict[str, Any]]
    small: Scale
    paper: Scale
    levels: tuple[float, ...] = ()
    figure: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    def scale(self, name: ScaleName) -> Scale:
        """The scale of that name."""
        return self.small if name == SMALL else self.paper


def names() -> list[str]:
    """The studies in the box."""
    here = files("measureflow_tools.studies")
    return sorted(path.name.removesuffix(".toml") for path in here.iterdir() if path.name.endswith(".toml"))


def read(name: str, registry: Registry) -> tuple[Study, Raw]:
    """A study by the name it has in the box, or by the path of its file, and its experiment's tables; raises ConfigError."""
    path = Path(name) if name.endswith(".toml") else Path(str(files("measureflow_tools.studies").joinpath(f"{name}.toml")))
    if not name.endswith(".toml") and name not in names():
        raise MeasureflowError(f"{unknown('study', name, names())}; or give the path of a study file, which ends in .toml")
    raw = config.read(path)
    experiment = raw.pop("experiment", None)
    if not isinstance(experiment, Mapping):
        raise ConfigError(str(path), ["experiment: is missing; give the tables that every case starts from"])
    study = config.structure(raw, Study, registry, str(path))
    problems = list(_loose_ends(study))
    if problems:
        raise ConfigError(str(path), problems)
    return study, dict(experiment)


def _loose_ends(study: Study) -> Iterable[str]:
    for case in study.cases:
        if not FITS.fullmatch(case):
            yield f"cases.{case}: names a folder: letters, digits and '._-=,' only, starting with a letter or a digit"
    for i, check in enumerate(study.checks):
        for key, case in (("of", check.of), ("over", check.over)):
            if case is not None and case not in study.cases:
                yield f"checks.{i}.{key}: {unknown('case', case, study.cases)}"
    for name in (SMALL, PAPER):
        for case in study.scale(name).cases:
            if case not in study.cases:
                yield f"{name}.cases.{case}: {unknown('case', case, study.cases)}"


def members(study: Study, experiment: Raw, scale: ScaleName, settings: Iterable[str]) -> dict[str, list[Member]]:
    """By case, one member a seed; `settings` are the user's, and come last."""
    size, found = study.scale(scale), {}
    for case, changed in study.cases.items():
        changes = {**size.settings, **changed, **size.cases.get(case, {})}
        tables = config.changes({**experiment, "name": case}, changes)
        for setting in settings:
            tables = config.override(tables, setting)
        first = tables.get("seed", 0)
        if not isinstance(first, int) or first < 0:
            raise ConfigError("--set", [f"seed={first!r}: give a whole number from 0"])
        seeds = range(first, first + size.seeds)
        found[case] = [Member.of(case if size.seeds == 1 else f"{case},seed={seed}", tables, {"seed": seed}) for seed in seeds]
    return found
