"""Every registered component keeps the promises of its abstract type; one without an example fails here."""

from typing import Any

import attrs
import pytest
import torch

from measureflow import config
from measureflow.domain import Space
from measureflow.plugins import FAMILIES, Registry, load
from measureflow.schedule import Schedule
from measureflow.testing import check_coupling, check_domain, check_feature, check_flow, check_reducer
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu

EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "coupling": [{"kind": "dual-ebm", "feature": "gaussian"}, {"kind": "dual-ebm", "feature": {"kind": "relu", "power": 2}}],
    "domain": [{"kind": "sphere"}, {"kind": "euclidean"}, {"kind": "euclidean", "base": "gaussian", "variance": 2.0}],
    "feature": [
        *({"kind": "relu", "power": k} for k in (1, 2, 3)),
        *({"kind": "relu-affine", "power": k} for k in (1, 2)),
        {"kind": "gaussian", "length": 0.7},
    ],
    "flow": [
        {"kind": "langevin"},
        {"kind": "langevin", "noise": "antithetic", "method": "geodesic", "temperature": 0.5},
        {"kind": "langevin", "temperature": 0.0},
        {"kind": "wasserstein"},
        {"kind": "wasserstein", "method": "geodesic"},
        {"kind": "fisher-rao", "conserve": True},
        {"kind": "fisher-rao"},
        {"kind": "wfr", "rate": 2.0, "reaction": 0.5},
        {"kind": "tv-ball", "radius": 10.0},
        {"kind": "tv-ball", "radius": 0.5, "method": "multiplier"},
        {"kind": "restart", "probability": 0.5},
        {"kind": "restart", "every": 1, "to": "own"},
    ],
    "init": [{"kind": "data"}, {"kind": "uniform", "size": 5}, {"kind": "file", "path": "x.npy"}],
    "metric": [{"kind": kind} for kind in ("kl", "score", "tv", "mass", "energy")],
    "observer": [{"kind": kind} for kind in ("progress", "checkpoint", "curves")],
    "reducer": [{"kind": "chunked", "tile": 1000}, {"kind": "keops"}],
    "schedule": [],
    "scheme": [{"kind": "sequential"}, {"kind": "simultaneous"}],
    "source": [
        {"kind": "file", "path": "x.npy"},
        {"kind": "teacher", "neurons": "bimodal", "weights": [-1.0, -2.0], "train": 3},
    ],
}
SPACES = [Space(Sphere(), 4), Space(Euclidean(base="gaussian"), 3)]


def built(registry: Registry, family: str, table: dict[str, Any]) -> Any:
    return config.structure(table, FAMILIES[family], registry, "example")


def cases(family: str) -> list[Any]:
    return [pytest.param(table, id="-".join(str(v) for v in table.values()), marks=_group(table)) for table in EXAMPLES[family]]


def _group(table: dict[str, Any]) -> list[pytest.MarkDecorator]:
    """KeOps has no lock between processes: its tests stay on one worker."""
    return [pytest.mark.xdist_group("keops")] if table["kind"] == "keops" else []


def test_every_component_has_an_example(registry: Registry) -> None:
    given = {(family, table["kind"]) for family, tables in EXAMPLES.items() for table in tables}
    own = {key for key, origin in registry.origins.items() if origin.startswith("builtin ")}
    assert given == own


@pytest.mark.parametrize("key", sorted(load().components), ids="-".join)
def test_component_is_frozen_final_and_documented(registry: Registry, key: tuple[str, str]) -> None:
    cls = registry.components[key]
    assert attrs.inspect(cls).is_frozen
    assert getattr(cls, "__final__", False)
    assert (cls.__doc__ or "").strip()
    assert issubclass(cls, FAMILIES[key[0]])


@pytest.mark.parametrize(("family", "table"), [(family, table) for family, tables in EXAMPLES.items() for table in tables])
def test_config_round_trip(registry: Registry, family: str, table: dict[str, Any]) -> None:
    component = built(registry, family, table)
    assert built(registry, family, config.unstructure(component)) == component


@pytest.mark.parametrize("table", cases("domain"))
@pytest.mark.parametrize("d", [2, 3, 7])
def test_domain(registry: Registry, table: dict[str, Any], d: int) -> None:
    check_domain(built(registry, "domain", table), d)


@pytest.mark.parametrize("table", cases("feature"))
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_feature(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_feature(built(registry, "feature", table), space)


@pytest.mark.parametrize("table", cases("flow"))
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_flow(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_flow(built(registry, "flow", table), space)


@pytest.mark.parametrize("table", cases("coupling"))
@pytest.mark.parametrize("space", SPACES, ids=str)
def test_coupling(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_coupling(built(registry, "coupling", table), space)


@pytest.mark.parametrize("table", cases("reducer"))
def test_reducer(registry: Registry, table: dict[str, Any]) -> None:
    check_reducer(built(registry, "reducer", table), Relu(), SPACES[0], 30, 12)


@pytest.mark.parametrize("table", cases("schedule"))
def test_schedule(registry: Registry, table: dict[str, Any]) -> None:
    schedule: Schedule = built(registry, "schedule", table)
    low, high = schedule.range
    values = torch.tensor([schedule(step) for step in range(0, 5000, 7)])
    assert float(values.min()) >= low
    assert float(values.max()) <= high
