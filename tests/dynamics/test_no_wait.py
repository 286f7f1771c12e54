"""A step never waits for the device: torch's meta device holds no data, so reading a number off it raises."""

from pathlib import Path

import attrs
import pytest
import torch
from small import readable

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.measure import System
from measureflow.core.noise import Keyed
from measureflow.dynamics.divergence import sound
from measureflow.dynamics.dynamics import Dynamics
from measureflow.dynamics.simulate import advance
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.toml"))


@pytest.fixture(params=EXAMPLES, ids=lambda path: path.stem)
def example(request: pytest.FixtureRequest, registry: Registry) -> tuple[Dynamics, System]:
    """The first system of an example on the CPU, and the dynamics with sums by matrix products."""
    built = build(from_tables(readable(request.param), registry), registry)
    return attrs.evolve(built.dynamics, reducer=Chunked()), built.system


def moved(system: System, device: str) -> System:
    """The same system on another device."""
    return System({name: mu.to(torch.device(device)) for name, mu in system.measures.items()})


def test_a_step_reads_nothing_off_the_device(example: tuple[Dynamics, System], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Keyed, "_fill", lambda self, rows, out, draw, fill: out)  # there are no generators without data
    dynamics, system = example
    after = advance(dynamics, moved(system, "meta"))
    for name, mu in system.measures.items():
        assert after[name].points.shape == mu.points.shape
        assert after[name].points.is_meta
    assert sound(after, dynamics).is_meta, "nor does the guard, until it is asked"
