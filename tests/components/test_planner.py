"""The planner's cost model, its choices and their reasons; measureflow tune and explain."""

import itertools
from pathlib import Path

import attrs
import pytest
import torch
from small import Shell, readable

from measureflow.config import structure as config
from measureflow.core.feature import Feature
from measureflow.core.measure import Need
from measureflow.errors import MeasureflowError
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Op, Request, request
from measureflow.testing import normals
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.reducers.autotune import candidates as there
from measureflow_plugins.reducers.autotune import planner as planning
from measureflow_plugins.reducers.autotune.candidates import candidates
from measureflow_plugins.reducers.autotune.costs import Costs, Row, read, save
from measureflow_plugins.reducers.autotune.planner import Planner
from measureflow_plugins.reducers.compiled import Compiled
from measureflow_plugins.reducers.keops import KeOps
from measureflow_tools.analysis.peak import Peak

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.toml"))
ASKED = Request("sums", 20_000, 64, 15, "relu", "dot", torch.float32, torch.device("cpu"), Need.GRAD)
SHAPES = [(n, m, d) for n, m, d in itertools.product((100, 2_000, 30_000), (8, 64), (3, 15)) if n >= m]
USUAL = candidates(ASKED)[0].name


def seconds(rate: float, n: int, m: int, d: int) -> float:
    """A cost of the model's form."""
    return rate * (1e-5 + 2e-10 * n * m + 1e-11 * n * m * d + 3e-10 * (n + m) * d)


def table(first: float = 0.0, **rates: float) -> Costs:
    """Costs in which each candidate is so many times slower than the formula."""
    rows = [
        Row("cpu", "float32", "relu", "sums GRAD", name, n, m, d, seconds(rate, n, m, d))
        for name, rate in rates.items()
        for n, m, d in SHAPES
    ]
    return Costs(tuple(rows), {}, {"compiled": first})


def test_the_model_gives_back_costs_of_its_own_form() -> None:
    costs = table(compiled=1.0)
    for n, m, d in ((777, 33, 7), (200_000, 64, 15)):
        predicted = costs.predict(attrs.evolve(ASKED, n_out=n, n_in=m, width=d), "compiled")
        assert predicted == pytest.approx(seconds(1.0, n, m, d), rel=1e-6)


def test_coefficients_are_never_negative() -> None:
    """Times that fall with the size are no reason to promise a negative one."""
    rows = [Row("cpu", "float32", "relu", "sums GRAD", "compiled", n, m, d, 1.0 / (n * m * d)) for n, m, d in SHAPES]
    costs = Costs(tuple(rows), {}, {})
    assert all((costs.predict(attrs.evolve(ASKED, n_out=n), "compiled") or 0) >= 0 for n in (64, 1000, 10**7))


def test_too_few_measurements_are_no_fit() -> None:
    costs = table(compiled=1.0)
    assert attrs.evolve(costs, rows=costs.rows[:4]).predict(ASKED, "compiled") is None


def test_the_fastest_is_picked_and_the_reason_given() -> None:
    plan = Planner(table(**{USUAL: 2.0, "compiled": 1.0}), "a table").plan(ASKED)
    assert plan.reducer == Compiled()
    assert plan.why == f"2.0 times faster than {USUAL} in a table"
    assert plan.seconds == pytest.approx(seconds(1.0, 20_000, 64, 15))


def test_what_is_hardly_faster_is_not_worth_a_change() -> None:
    plan = Planner(table(**{USUAL: 1.04, "compiled": 1.0}), "a table").plan(ASKED)
    assert plan.candidate.name == USUAL
    assert "within 1.05 of the fastest of 2" in plan.why


def test_compiling_must_pay_within_ten_thousand_steps() -> None:
    saved = seconds(1.0, 20_000, 64, 15)  # what compiled saves a step where it is twice as fast
    for first, reducer in ((0.5e4 * saved, Compiled), (1.5e4 * saved, Chunked)):
        assert isinstance(Planner(table(first, **{USUAL: 2.0, "compiled": 1.0}), "a table").plan(ASKED).reducer, reducer)


def test_a_fallback_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = Planner(table(**{USUAL: 2.0, "compiled": 1.0}), "a table")
    unknown = planner.plan(attrs.evolve(ASKED, profile="mine"))
    assert (unknown.candidate.name, unknown.seconds) == (USUAL, None)
    assert unknown.why == "no mine sums of this kind in a table: the usual choice"
    for module in (there, planning):
        monkeypatch.setattr(module, "uncompiled", lambda: "compiled is not installed: pip install measureflow[compiled]")
    plan = planner.plan(ASKED)
    assert plan.candidate.name == USUAL
    assert "compiled is not installed: pip install measureflow[compiled]" in plan.why


def test_candidates_by_device_and_kind_of_sum() -> None:
    assert [c.name for c in candidates(ASKED)][-1] == "compiled"
    assert "compiled" not in [c.name for c in candidates(attrs.evolve(ASKED, op="directed"))]
    on_gpu = candidates(attrs.evolve(ASKED, device=torch.device("cuda")))
    assert [c.reducer for c in on_gpu[-2:]] == [KeOps("1D"), KeOps("2D")]
    kernel = attrs.evolve(ASKED, device=torch.device("cuda"), form="radial", n_out=100)
    assert candidates(kernel)[0].reducer == Chunked(), "if nothing was measured, products run everywhere"
    assert [c.reducer for c in candidates(kernel)[-2:]] == [KeOps("2D"), KeOps("1D")]


@pytest.mark.parametrize(
    ("phi", "op", "need"),
    [
        (Relu(), "sums", Need.GRAD),
        (Relu(), "sums", Need.VALUE),
        (Gaussian(), "sums", Need.BOTH),
        (Relu(2), "directed", Need.GRAD),
        (Relu(), "vectors", Need.VALUE),
    ],
)
def test_predicted_memory_is_what_torch_uses(phi: Feature, op: Op, need: Need) -> None:
    """Of a sum whose tiles are much larger than its points; directed sums have at most four tiles at a time."""
    X, Y, V = normals(40_000, 3), normals(50, 3, seed=1), normals(50, 3, seed=2)
    asked = request(op, phi, X, Y, need)
    candidate = next(c for c in candidates(asked) if c.tile == 2**18)
    with Peak() as peak:
        if op == "sums":
            candidate.reducer.sums(phi, X, Y, None, need)
        elif op == "directed":
            candidate.reducer.directed_sums(phi, X, Y, V, need)
        else:
            candidate.reducer.vector_sums(phi, X, Y, V)
    assert peak.most == pytest.approx(candidate.memory(asked), rel=0.35)


def test_peak_memory_counts_what_lives_at_one_time() -> None:
    with Peak() as peak:
        a = torch.ones(1000, dtype=torch.float64)
        b = (a + 1)[:10]  # a view keeps all of its storage
        del a
        c = torch.ones(500, dtype=torch.float64)
    assert peak.most == 16_000
    assert b.sum() + c.sum() == 520


def test_a_table_is_written_and_read(tmp_path: Path) -> None:
    costs, path = table(0.5, compiled=1.0), tmp_path / "costs.json"
    save(costs, path)
    once = read(path)
    assert [row.seconds for row in once.rows] == pytest.approx([row.seconds for row in costs.rows], rel=1e-3)
    save(once, path)
    assert read(path).rows == once.rows
    assert (once.first, once.facts) == (costs.first, costs.facts)
    path.write_text("{")
    with pytest.raises(MeasureflowError, match=r"costs\.json: no table of costs .* measureflow tune"):
        read(path)


def test_the_shipped_table_predicts_every_kind_it_measured() -> None:
    costs = planning.shipped()
    assert {row.profile for row in costs.rows} >= {"relu", "gaussian", "arc-cosine"}
    assert costs.first.keys() <= {row.candidate for row in costs.rows}
    for row in costs.rows:
        asked = Request(
            row.what.split()[0], row.n_out, row.n_in, row.width, row.profile, "dot",  # type: ignore[arg-type]
            getattr(torch, row.dtype), torch.device(row.device), Need[row.what.split()[1]],
        )  # fmt: skip
        assert (costs.predict(asked, row.candidate) or -1) > 0, row


def test_tune_makes_a_table_that_the_planner_then_uses(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning.click, "get_app_dir", lambda name: str(shell.folder / "own"))
    planning.planner.cache_clear()
    try:
        said = shell("tune", "--device", "cpu", "--every", "301")
        assert said.code == 0, said
        own = planning.tuned_path()
        assert str(own) in said.out
        assert planning.planner("cpu").where == "this machine's table and the shipped one"
        assert len(read(own).rows) > 4
    finally:
        planning.planner.cache_clear()


def test_tune_has_a_limit_and_keeps_what_it_did_not_measure(shell: Shell) -> None:
    old = table(compiled=1.0)  # of relu sums GRAD in float32, and more of it than is measured now
    other = [attrs.evolve(row, dtype="float64") for row in old.rows]
    save(attrs.evolve(old, rows=(*old.rows, *other)), Path("own.json"))
    said = shell("tune", "--device", "cpu", "--dtype", "float32", "--every", 2, "--minutes", 1e-9, "--out", "own.json")
    assert said.code == 0, said
    assert "stopped; not measured: relu sums VALUE float32, gaussian sums GRAD float32" in said.err.replace("\n", " ")
    rows = read(Path("own.json")).rows
    assert len([row for row in rows if row.dtype == "float64"]) == len(other)
    assert {(row.profile, row.what) for row in rows if row.dtype == "float32"} == {("relu", "sums GRAD")}
    assert len({row.candidate for row in rows if row.dtype == "float32"}) > 1  # this machine's, and no longer the old ones


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_explain_every_example(shell: Shell, path: Path) -> None:
    file = shell.folder / path.name
    file.write_text(config.dumps(readable(path)))
    said = shell("explain", file)
    assert said.code == 0, said
    told = said.out.count("\n  by ")
    assert told == said.out.count(" outputs x ")
    assert f"{'sums of one step: ' if told else 'this step asks for no sums'}" in said.out


def test_explain_measures(shell: Shell) -> None:
    said = shell("explain", shell.write(), "--measure", "--set", "reducer=chunked")
    assert said.code == 0, said
    assert "sums GRAD of relu: 100 outputs x 8 inputs, d = 3" in said.out
    assert "by chunked (one holds the whole matrix): named by the experiment" in said.out
    assert said.out.count(" MiB measured") == said.out.count("  by ") == 3


def test_explain_says_what_a_named_reducer_leaves_to_another(shell: Shell) -> None:
    changes = {"reducer": "compiled", "coupling": {"kind": "score-matching", "feature": {"kind": "relu", "power": 3}}}
    said = shell("explain", shell.write({**changes, "measures.nu": None, "metrics": []}))
    assert said.code == 0, said
    assert "named by the experiment is compiled, which leaves these sums to it: " in said.out
