"""One whole step of each coupling of the box, in an experiment of docs/examples at its own sizes.

pytest benchmarks/test_couplings.py --benchmark-enable -s
"""

import tomllib
from pathlib import Path
from typing import Any

import dual
import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from report import here
from side_by_side import DEVICE, stepping

from measureflow.api import Experiment, MeasureflowError, build, from_tables, load_plugins
from measureflow_tools.analysis.timing import pairs

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PLAIN = ("dual-bimodal", "langevin-double-well", "mmd-flow-noisy", "regression")  # where several examples have the coupling
REGISTRY = load_plugins()


def example(kind: str) -> tuple[str, dict[str, Any]]:
    """(name, tables) of an example that takes steps with this coupling; skips the test where there is none."""
    found = {path.stem: tomllib.loads(path.read_text()) for path in sorted(EXAMPLES.glob("*.toml"))}
    if kind == "sum":  # of one part: what the sum itself costs
        tables = found["dual-bimodal"]
        return "dual-bimodal", {**tables, "coupling": {"kind": "sum", "couplings": [tables["coupling"]]}}
    names = [name for name, tables in found.items() if tables["coupling"]["kind"] == kind and tables["steps"]]
    if not names:
        pytest.skip(f"no example takes steps with the coupling {kind}")
    name = min(names, key=lambda name: (name not in PLAIN, name))
    return name, found[name]


def readable(name: str, tables: dict[str, Any]) -> Experiment:
    """The experiment of these tables; skips the test where its data are absent."""
    path = tables["data"].get("path")
    if path and not Path(path).exists():
        pytest.skip(f"{path}, which {name} reads, is absent")
    return from_tables({**tables, "device": str(DEVICE)}, REGISTRY, name)


@pytest.mark.parametrize("kind", REGISTRY.kinds("coupling"))
def test_step_of(benchmark: BenchmarkFixture, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES.parents[1])
    name, tables = example(kind)
    built = build(readable(name, tables), REGISTRY, name)
    sizes = {name: mu.size for name, mu in built.system.measures.items()}
    benchmark.extra_info.update(here(DEVICE), example=name, sizes=sizes)
    benchmark.pedantic(stepping(dual.steps(built.dynamics, built.system)), rounds=9, warmup_rounds=2)
    try:
        benchmark.extra_info["pairs"] = pairs(built.dynamics, built.system)
    except MeasureflowError as error:  # the example names a reducer that hides them
        benchmark.extra_info["pairs"] = str(error)
    median = benchmark.stats.stats.median if benchmark.stats else float("nan")
    print(f"\n{kind} ({name}): {1e3 * median:.2f} ms, pairs {benchmark.extra_info['pairs']}, {sizes}")
