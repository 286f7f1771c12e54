"""The bench command: sizes, counts and files; never how long anything took."""

import json
import math
from pathlib import Path

import pytest
import torch
from small import Shell, readable

from measureflow.api import MeasureflowError, Particles, System
from measureflow.config.build import build
from measureflow.config.validate import load
from measureflow.plugins.registry import Registry
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_tools.analysis.timing import exponent, pairs, resized

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.toml"))
FIRST = next(path for path in EXAMPLES if path.name == "dual-bimodal.toml")


@pytest.mark.parametrize("size", [3, 7, 20])
def test_a_resized_measure_keeps_its_total_mass_and_whether_it_is_equal(size: int) -> None:
    points = torch.arange(14.0, dtype=torch.float64).reshape(7, 2)
    equal = Particles.uniform(points, Euclidean())
    signed = Particles(points, torch.tensor([1.0, -1, 1, 1, -1, 1, 1]).double(), torch.zeros(7).double(), Euclidean())
    out = resized(System({"mu": equal, "nu": signed}), {"mu": size, "nu": size})
    assert (out["mu"].size, out["mu"].equal, out["nu"].equal) == (size, True, False)
    assert float(out["mu"].total) == pytest.approx(1)
    assert float(out["nu"].log_mass.exp().sum()) == pytest.approx(7)
    assert torch.equal(out["nu"].points, points[torch.arange(size) % 7])


def test_pairs_of_a_step_of_algorithm_1(registry: Registry) -> None:
    """N m for the walkers' gradient, N m and n m for the neurons' potential."""
    built = build(load(FIRST, registry), registry)
    n, m = 300, 10
    system = resized(built.system, {"nu": 500, "gamma": m, "data": n})
    assert pairs(built.dynamics, system) == m * (500 + 500 + n)


def test_exponent_of_a_power_law() -> None:
    sizes = [10, 100, 1000]
    assert exponent(sizes, [3e-6 * size**1.25 for size in sizes]) == pytest.approx(1.25)


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_bench_works_on_every_example(path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parents[2])
    tables = readable(path)
    sizes = [option for name in tables["measures"] for option in ("--size", f"{name}=40")]
    said = shell("bench", path, *sizes, "--rounds", 1)
    assert said.code == 0, said
    assert "pairs/s" in said.out


def test_bench_writes_rows_and_a_figure(shell: Shell) -> None:
    options = ("--particles", "1e2,2e2", "--neurons", "8", "--size", "data=50", "--reducers", "auto,chunked", "--rounds", 2)
    said = shell("bench", FIRST, *options, "--json", "rows.json", "--plot", "plot.png")
    assert said.code == 0, said
    assert "exponent of the time in nu" in said.out
    written = json.loads(Path("rows.json").read_text())
    rows = written["rows"]
    assert [(row["nu"], row["gamma"], row["data"], row["reducer"]) for row in rows] == [
        (size, 8, 50, kind) for size in (100, 200) for kind in ("auto", "chunked")
    ]
    for row in rows:
        assert row["pairs"] == 8 * (2 * row["nu"] + 50)
        assert math.isclose(row["pairs_per_second"], 1e3 * row["pairs"] / row["ms"])
    assert min(row["ratio"] for row in rows[:2]) == 1
    assert {"device", "threads", "packages"} <= written["environment"].keys()
    assert Path("plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--particles", "1e3x"), "size of nu: '1e3x' is no count; write whole numbers from 1"),
        (("--neurons", "0"), "size of gamma: '0' is no count"),
        (("--neurons", "2.5"), "size of gamma: '2.5' is no count"),
        (("--size", "data"), "--size 'data': write NAME=N,N,..."),
        (("--size", "mu=10"), "there is no measure 'mu'; this experiment has data, "),
        (("--reducers", "chunkd"), "unknown reducer 'chunkd'"),
    ],
)
def test_bench_says_what_was_wrong(shell: Shell, options: tuple[str, ...], message: str) -> None:
    said = shell("bench", FIRST, *options)
    assert said.code == 2
    assert message in said.err
    assert "Traceback" not in said.err


def test_resized_names_what_there_is() -> None:
    mu = Particles.uniform(torch.zeros(2, 1), Euclidean())
    with pytest.raises(MeasureflowError, match="no measure 'nu'; this experiment has mu"):
        resized(System({"mu": mu}), {"nu": 3})
