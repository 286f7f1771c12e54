"""Every registered component keeps the promises of its abstract type; one without an example fails here."""

import tomllib
from pathlib import Path
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
from measureflow_plugins.domains.torus import Torus
from measureflow_plugins.features.relu import Relu

EXAMPLES = [
    (family, table)
    for path in sorted((Path(__file__).parent / "examples").glob("*.toml"))
    for family, tables in tomllib.loads(path.read_text()).items()
    for table in tables
]
SPACES = {"sphere": Space(Sphere(), 4), "euclidean": Space(Euclidean(base="gaussian"), 3), "torus": Space(Torus(), 2)}
USUAL = ("sphere", "euclidean")  # on the torus a component must be periodic: only where _on says so


def built(registry: Registry, family: str, table: dict[str, Any]) -> Any:
    own = {key: value for key, value in table.items() if not key.startswith("_")}
    return config.structure(own, FAMILIES[family], registry, "example")


def cases(family: str, spaces: bool = False) -> list[Any]:
    """The examples of a family, on each space they are defined on."""
    found = []
    for known, table in EXAMPLES:
        if known == family and "_own" not in table:
            where = [table["_on"]] if "_on" in table else list(USUAL)
            for name in where if spaces else [""]:
                label = "-".join([*(str(value) for key, value in table.items() if key[0] != "_"), name])
                found.append(pytest.param(table, *([SPACES[name]] if spaces else []), id=label))
    return found


def test_every_component_has_an_example(registry: Registry) -> None:
    given = {(family, table["kind"]) for family, table in EXAMPLES}
    own = {key for key, origin in registry.origins.items() if origin.startswith("builtin ")}
    assert given == own


def test_contracts_kept_elsewhere_name_a_test_that_exists() -> None:
    for _, table in EXAMPLES:
        if "_own" in table:
            path, _, name = table["_own"].partition("::")
            assert f"def {name}(" in (Path(__file__).parent / path).read_text()


@pytest.mark.parametrize("key", sorted(load().components), ids="-".join)
def test_component_is_frozen_final_and_documented(registry: Registry, key: tuple[str, str]) -> None:
    cls = registry.components[key]
    assert attrs.inspect(cls).is_frozen
    assert getattr(cls, "__final__", False)
    assert (cls.__doc__ or "").strip()
    assert issubclass(cls, FAMILIES[key[0]])


@pytest.mark.parametrize(("family", "table"), EXAMPLES)
def test_config_round_trip(registry: Registry, family: str, table: dict[str, Any]) -> None:
    component = built(registry, family, table)
    assert built(registry, family, config.unstructure(component)) == component


@pytest.mark.parametrize("table", cases("domain"))
@pytest.mark.parametrize("d", [2, 3, 7])
def test_domain(registry: Registry, table: dict[str, Any], d: int) -> None:
    check_domain(built(registry, "domain", table), d)


@pytest.mark.parametrize(("table", "space"), cases("feature", spaces=True))
def test_feature(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_feature(built(registry, "feature", table), space)


@pytest.mark.parametrize(("table", "space"), cases("flow", spaces=True))
def test_flow(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_flow(built(registry, "flow", table), space, signed=table.get("_signed", True))


@pytest.mark.parametrize(("table", "space"), cases("coupling", spaces=True))
def test_coupling(registry: Registry, table: dict[str, Any], space: Space) -> None:
    check_coupling(built(registry, "coupling", table), space)


@pytest.mark.parametrize("table", cases("reducer"))
def test_reducer(registry: Registry, table: dict[str, Any]) -> None:
    check_reducer(built(registry, "reducer", table), Relu(), SPACES["sphere"], 30, 12)


@pytest.mark.parametrize("table", cases("schedule"))
def test_schedule(registry: Registry, table: dict[str, Any]) -> None:
    schedule: Schedule = built(registry, "schedule", table)
    low, high = schedule.range
    values = torch.tensor([schedule(step) for step in range(0, 5000, 7)], dtype=torch.float64)
    assert float(values.min()) >= low
    assert float(values.max()) <= high
