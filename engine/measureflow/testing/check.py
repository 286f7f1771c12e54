"""Trying every promise of a component's family."""

from collections.abc import Mapping
from typing import Any

from measureflow import config
from measureflow.coupling import Coupling
from measureflow.domain import Domain, Space
from measureflow.errors import MeasureflowError
from measureflow.feature import Feature
from measureflow.plugins import Registry, load
from measureflow.testing import (
    common,
    couplings,
    demands,
    domains,
    features,
    flows,
    laws,
    metrics,
    observers,
    profiles,
    reducers,
    schedules,
    schemes,
    sources,
    teams,
    variations,
)
from measureflow.testing.promise import Promise
from measureflow.testing.report import Report, worst
from measureflow.testing.trial import Trial

FAMILIES: Mapping[str, tuple[Promise, ...]] = {
    "coupling": couplings.PROMISES + variations.PROMISES + teams.COUPLING,
    "domain": domains.PROMISES,
    "feature": profiles.PROMISES + features.PROMISES,
    "flow": flows.PROMISES + demands.PROMISES + laws.PROMISES + teams.FLOW,
    "init": sources.INIT,
    "metric": metrics.PROMISES + teams.METRIC,
    "observer": observers.PROMISES,
    "reducer": reducers.PROMISES + teams.REDUCER,
    "schedule": schedules.PROMISES,
    "scheme": schemes.PROMISES + teams.SCHEME,
    "source": sources.SOURCE,
}
DIMENSIONS = (1, 2, 3, 7)
USUAL: Mapping[str, Mapping[str, Any]] = {
    "sphere": {"domain": "sphere", "dim": 4},
    "euclidean": {"domain": {"kind": "euclidean", "base": "gaussian"}, "dim": 3},
    "torus": {"domain": "torus", "dim": 2},
}


def check(component: Any, space: Space | None = None, *, registry: Registry | None = None, **options: Any) -> Report:
    """Tries every promise of the component's family, and those it claims, and reports what was found.

    `space` is where a flow, feature, coupling or reducer is tried; without it they are tried on a sphere in R^4 and on R^3 with
    a Gaussian base law, where they do not refuse it. `options` are further fields of `Trial`. Nothing is raised where a
    promise is broken: `check(...).raise_if_broken()` does.
    """
    registry = registry or load()
    trials = [Trial(registry, where, **options) for where in ([space] if space else places(component, registry))]
    promises = common.PROMISES + FAMILIES[component.family]
    rows = [worst(promise.row(component, trial) for trial in trials) for promise in promises]
    return Report(f"{component.family} {component.kind}", tuple(rows))


def places(component: Any, registry: Registry) -> list[Space]:
    """Where a component is tried unless it is said."""
    if isinstance(component, Domain):
        return [Space(component, d) for d in DIMENSIONS if component.dimension(d) > 0]
    sphere, flat = (config.structure(dict(USUAL[name]), Space, registry, name) for name in ("sphere", "euclidean"))
    if not isinstance(component, Coupling | Feature):
        return [sphere, flat] if component.family == "flow" else [sphere]
    return [place for place in (sphere, flat) if _takes(component, place)] or [sphere, flat]


def _takes(component: Coupling | Feature, place: Space) -> bool:
    """Whether it does not refuse a space."""
    try:
        component.spaces(place) if isinstance(component, Coupling) else component.parameter_space(place)
    except MeasureflowError:
        return False
    return True
