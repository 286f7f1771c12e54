"""Trying every promise of a component's family."""

from collections.abc import Mapping
from typing import Any

import attrs

from measureflow.config import structure as config
from measureflow.core.domain import Domain, Space
from measureflow.core.feature import Feature
from measureflow.dynamics.coupling import Coupling
from measureflow.dynamics.flow import Flow
from measureflow.errors import MeasureflowError
from measureflow.plugins.registry import Registry, load
from measureflow.testing import demands
from measureflow.testing.families import (
    couplings,
    domains,
    features,
    flows,
    metrics,
    observers,
    reducers,
    schedules,
    schemes,
    sources,
    teams,
)
from measureflow.testing.problems import common, laws, limits, profiles, rates, variations
from measureflow.testing.problems.systems import measure, stepped
from measureflow.testing.promise import Promise
from measureflow.testing.report import Report, Row, worst
from measureflow.testing.trial import Trial

FAMILIES: Mapping[str, tuple[Promise, ...]] = {
    "coupling": couplings.PROMISES + variations.PROMISES + teams.COUPLING,
    "domain": domains.PROMISES,
    "feature": profiles.PROMISES + features.PROMISES,
    "flow": flows.PROMISES + rates.PROMISES + demands.PROMISES + laws.PROMISES + limits.PROMISES + teams.FLOW,
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
    rows = [worst(_row(promise, component, trial, len(trials) > 1) for trial in trials) for promise in promises]
    return Report(f"{component.family} {component.kind}", tuple(rows))


def _row(promise: Promise, component: Any, trial: Trial, one_of_many: bool) -> Row:
    """What trying a promise says; where it is tried in several spaces, a broken one names its space."""
    row = promise.row(component, trial)
    if row.state != "broken" or not one_of_many:
        return row
    return attrs.evolve(row, detail=f"on {trial.space.domain.kind} of dim {trial.space.dim}: {row.detail}")


def places(component: Any, registry: Registry) -> list[Space]:
    """Where a component is tried unless it is said."""
    if isinstance(component, Domain):
        return [Space(component, d) for d in DIMENSIONS if component.dimension(d) > 0]
    sphere, flat = (config.structure(dict(USUAL[name]), Space, registry, name) for name in ("sphere", "euclidean"))
    if not isinstance(component, Coupling | Feature | Flow):
        return [sphere]
    return [place for place in (sphere, flat) if _takes(component, place)] or [sphere, flat]


def _takes(component: Coupling | Feature | Flow, place: Space) -> bool:
    """Whether it does not refuse a space; of a flow, whether it takes a step there or fails otherwise."""
    try:
        if isinstance(component, Flow):
            stepped(component, measure(place, 4), 0.01)
        else:
            component.spaces(place) if isinstance(component, Coupling) else component.parameter_space(place)
    except MeasureflowError:
        return False
    except Exception:
        return True  # the promises say what is wrong
    return True
