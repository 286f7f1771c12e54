"""Every registered component keeps the promises of its family; one without an example fails here."""

import math
from pathlib import Path

import pytest

from measureflow.errors import ConfigError
from measureflow.plugins.registry import FAMILIES, Registry, load
from measureflow.testing import check
from measureflow.testing.examples import Example, read
from measureflow.testing.problems import common, linear
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.flows.kinetic_langevin import KineticLangevin
from measureflow_plugins.flows.langevin import Langevin
from measureflow_plugins.flows.svgd import Svgd

EXAMPLES = read(Path(__file__).parents[1] / "examples")


def test_every_component_has_an_example(registry: Registry) -> None:
    own = {key for key, origin in registry.origins.items() if origin.startswith("builtin ")}
    assert {example.key for example in EXAMPLES} == own


@pytest.mark.parametrize("key", sorted(load().components), ids="-".join)
def test_component_is_registered_under_its_family(registry: Registry, key: tuple[str, str]) -> None:
    assert issubclass(registry.components[key], FAMILIES[key[0]])


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_component_keeps_its_promises(registry: Registry, example: Example) -> None:
    if example.own["kind"] == "sinkhorn":
        pytest.importorskip("geomloss", reason="geomloss is absent: pip install 'measureflow[sinkhorn]'")
    report = example.check(registry).raise_if_broken()
    if example.own["kind"] != "keops":  # compiles for seconds, and is tried in test_reducers.py
        assert len(report.of("kept")) > len(common.PROMISES), report


@pytest.mark.parametrize(("flow", "order"), [(Langevin(), 2), (KineticLangevin(), 3)])
def test_a_higher_order_than_a_flow_has_is_not_believed(registry: Registry, flow: Langevin | KineticLangevin, order: int) -> None:
    """Euler's order is 1, BAOAB's 2, in mean and variance: what their literature says."""
    assert [row.promise for row in check(flow, registry=registry, order=order).broken] == ["weak order"]
    check(flow, registry=registry, order=order - 1).raise_if_broken()


def test_examples_that_say_what_nobody_reads_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('flow = [{kind = "langevin", _singed = false}]\nflaw = [{kind = "langevin"}]\n')
    with pytest.raises(ConfigError) as refused:
        read(tmp_path)
    first, second = refused.value.problems
    assert "'_singed'" in first
    assert "did you mean '_signed'?" in first
    assert "unknown family 'flaw'" in second
    assert "did you mean 'flow'?" in second


def test_the_exact_law_under_a_linear_force_is_that_of_ornstein_uhlenbeck() -> None:
    """dx = -(k x - b) dt + sqrt(2) dW: mean b/k + (m - b/k) e^-kt, variance 1/k + (v - 1/k) e^-2kt; Euler is off by O(h)."""
    k, b = linear.FORCE, linear.SLOPE
    mean = b / k + (linear.START - b / k) * math.exp(-k)
    variance = 1 / k + (linear.SPREAD - 1 / k) * math.exp(-2 * k)
    got = linear.law(Langevin(), Euclidean(), 1 / 1024, 1024)
    assert got == pytest.approx((mean, variance), abs=2e-3)


def test_a_flow_that_refuses_a_space_is_tried_where_it_is_defined(registry: Registry) -> None:
    """svgd is defined on R^d only, and says so on the sphere."""
    report = check(Svgd(), registry=registry, signed=False)
    assert report.ok
    assert report.of("kept")
