"""The search: what is drawn and refused, that it finds a minimum, and that it goes on as if it had not stopped."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import log10
from pathlib import Path
from typing import Any

import pytest
from small import TABLES, Said, Shell

from measureflow.config import structure as config
from measureflow.config.validate import load
from measureflow.plugins.registry import Registry
from measureflow_tools.sweeps.members import Member, Outcome, Status
from measureflow_tools.sweeps.trials import best, judged

RATE, ORDER, SIZE = "measures.gamma.flows.0.rate", "order", "measures.gamma.init.size"
SPACE = {
    RATE: {"low": 0.1, "high": 1000.0, "log": True},
    ORDER: {"choices": ["sequential", {"kind": "simultaneous"}]},
    SIZE: {"low": 2, "high": 16},
}


def written(shell: Shell, space: dict[str, Any] | None = None, **changes: Any) -> Path:
    return shell.write(changes, {**TABLES, "search": SPACE if space is None else space})


def done(said: Said) -> Said:
    assert said.code == 0, said
    return said


def trials(folder: str = "q") -> list[dict[str, Any]]:
    return json.loads(Path(folder, "index.json").read_text())  # type: ignore[no-any-return]


def settings(folder: str = "q") -> list[dict[str, Any]]:
    return [each["settings"] for each in trials(folder)]


class Fake:
    """In place of runs: ten rows each, and kl ends at the squared distance of the rate from 10; above 500 it fails."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.stop_at = -1
        self.killed: set[str] = set()

    def __call__(self, members: Sequence[Member], folder: Path, jobs: int, see: Callable[[Outcome], object]) -> list[Outcome]:
        if len(self.batches) == self.stop_at:
            raise KeyboardInterrupt
        self.batches.append([member.name for member in members])
        outcomes = [self._outcome(member, folder) for member in members]
        for each in outcomes:
            see(each)
        return outcomes

    def _outcome(self, member: Member, folder: Path) -> Outcome:
        run, rate = folder / member.name, member.settings[RATE]
        run.mkdir(exist_ok=True)
        kl = [*[9.0] * 9, (log10(rate) - 1) ** 2]
        rows = [json.dumps({"step": i, "seconds": 0.0, "kl": x}) for i, x in enumerate(kl)]
        (run / "metrics.jsonl").write_text("\n".join([*rows, ""]))
        failed = rate > 500
        status: Status = "missing" if member.name in self.killed else "failed" if failed else "done"
        return Outcome(member.name, member.settings, 0, str(run), status, {"kl": kl[-1]}, 1.0, "oh" * (status != "done"))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr("measureflow_tools.commands.search.run_all", fake)
    return fake


def test_it_finds_the_least(shell: Shell, fake: Fake, registry: Registry) -> None:
    said = done(shell("search", written(shell), "--metric", "kl", "--trials", 60, "--out", "q"))
    assert len(fake.batches) == 60
    rates = [each[RATE] for each in settings()]
    assert all(0.1 <= rate <= 1000 for rate in rates)
    assert {each[SIZE] for each in settings()} <= set(range(2, 17))
    assert sum(each[ORDER] == "sequential" for each in settings()) not in (0, 60)
    assert all(type(each[SIZE]) is int for each in settings())
    late = [abs(log10(rate) - 1) for rate in rates[-20:]]
    assert sum(late) / 20 < sum(abs(log10(rate) - 1) for rate in rates[:10]) / 10  # it learns
    found = best([Outcome(**each) for each in trials()], "last kl")
    assert found is not None
    assert found.settings[RATE] == min(rates, key=lambda rate: abs(log10(rate) - 1))
    assert f"best: {found.name} with last kl = {found.metrics['last kl']:.6g}" in said.out
    assert f"  {RATE} = {found.settings[RATE]}" in said.out
    e = load(Path("q/best.toml"), registry)
    assert (e.measures["gamma"].flows[0].rate(0), e.measures["gamma"].init.size) == (found.settings[RATE], found.settings[SIZE])


def test_a_search_goes_on_as_it_would_have(shell: Shell, fake: Fake) -> None:
    file = written(shell)
    done(shell("search", file, "--metric", "kl", "--trials", 15, "--out", "whole"))
    done(shell("search", file, "--metric", "kl", "--trials", 12, "--out", "q"))
    fake.batches.clear()
    fake.stop_at = 1
    said = shell("search", file, "--metric", "kl", "--trials", 15, "--out", "q")
    assert (said.code, said.err.splitlines()[-1]) == (130, "stopped; the same command with --out q goes on")
    assert [each["status"] for each in trials()][12:] == ["done", "missing"]
    fake.stop_at = -1
    done(shell("search", file, "--metric", "kl", "--trials", 15, "--out", "q"))
    assert fake.batches == [["trial-0012"], ["trial-0013"], ["trial-0014"]]
    assert settings() == settings("whole")
    assert len({each[RATE] for each in settings()}) == 15
    done(shell("search", file, "--metric", "kl", "--trials", 15, "--out", "q"))
    assert len(fake.batches) == 3


def test_a_trial_that_was_killed_is_tried_again(shell: Shell, fake: Fake) -> None:
    file = written(shell)
    done(shell("search", file, "--metric", "kl", "--trials", 5, "--jobs", 3, "--out", "whole"))
    fake.killed = {"trial-0001"}
    said = shell("search", file, "--metric", "kl", "--trials", 5, "--jobs", 3, "--out", "q")
    assert said.code == 2
    assert "trial-0001: did not run to its end (oh); the same command with --out q goes on" in said.err
    assert [each["status"] == "missing" for each in trials()] == [False, True, False]
    fake.killed, fake.batches = set(), []
    done(shell("search", file, "--metric", "kl", "--trials", 5, "--jobs", 3, "--out", "q"))
    assert fake.batches[0] == ["trial-0001"]
    assert trials() == json.loads(Path("whole/index.json").read_text().replace("whole/", "q/"))


def test_the_seed_is_the_experiments(shell: Shell, fake: Fake) -> None:
    for seed in (0, 1):
        done(shell("search", written(shell, seed=seed), "--metric", "kl", "--trials", 2, "--out", f"q{seed}"))
    assert settings("q0") != settings("q1")


def test_jobs_are_drawn_together(shell: Shell, fake: Fake) -> None:
    done(shell("search", written(shell), "--metric", "kl", "--trials", 5, "--jobs", 3, "--out", "q"))
    assert [len(batch) for batch in fake.batches] == [3, 2]
    assert len({each[RATE] for each in settings()}) == 5


def test_failures_are_failed_trials(shell: Shell, fake: Fake) -> None:
    space = {RATE: {"low": 400.0, "high": 600.0}}
    said = done(shell("search", written(shell, space), "--metric", "kl", "--trials", 6, "--out", "q"))
    assert {(each["status"], each["error"], "last kl" in each["metrics"]) for each in trials()} == {
        ("done", "", True),
        ("failed", "oh", False),
    }
    assert all((each["settings"][RATE] > 500) == (each["status"] == "failed") for each in trials())
    assert "failed" in said.out
    said = shell("search", written(shell, {RATE: {"low": 600.0, "high": 700.0}}), "--metric", "kl", "--trials", 2, "--out", "r")
    assert (said.code, "error: all 2 trials failed, the last by: oh" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("values", "value"),
    [([5.0], 5.0), ([9.0] * 18 + [1.0, 3.0], 2.0), ([9.0] * 8 + [8.0, 1.0, 3.0], 2.0), ([1.0, float("nan")], None), ([], None)],
)
def test_a_trial_is_judged_by_the_median_of_the_last_tenth(tmp_path: Path, values: list[float], value: float | None) -> None:
    lines = [json.dumps({"step": i, "seconds": 0.0, "tv": 0.0} | ({"kl": x} if x else {})) for i, x in enumerate(values)]
    (tmp_path / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
    out = judged(Outcome("x", {}, 0, str(tmp_path), "done", {"kl": 1.0}, 1.0), "kl", "last kl")
    assert out.metrics.get("last kl") == value
    assert out.status == ("failed" if value is None else "done")


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({}, ["search: is empty"]),
        ({"step": 3}, ["search.step: expected a table, got 3"]),
        ({"step": {"low": 1.0}, RATE: {"choices": [1], "low": 0.0}}, ["search.step: give {low", f"search.{RATE}: give {{low"]),
        ({"step": {"low": 2.0, "high": 1.0}}, ["search.step: give {low"]),
        ({"step": {"low": 0, "high": 1, "log": True}}, ["search.step: low = 0: must be above 0 on a log scale"]),
        ({"step": {"low": 1, "hihg": 2}}, ["search.step.hihg: unknown key 'hihg'", "did you mean 'high'?"]),
        ({"measures.gamma.flows.9.rate": {"low": 1, "high": 2}}, ["search.measures.gamma.flows.9.rate: '9' does not lead"]),
        ({RATE: {"low": -1.0, "high": 2.0}, ORDER: {"choices": ["sequentiel"]}}, [f"(in {RATE} = -1.0", "unknown scheme 'sequ"]),
    ],
)
def test_a_bad_search_is_refused_before_anything_runs(shell: Shell, fake: Fake, space: dict[str, Any], says: list[str]) -> None:
    said = shell("search", written(shell, space), "--metric", "kl", "--out", "q")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert [part for part in says if part not in said.err] == [], said.err
    assert not Path("q").exists()


def test_paths_need_no_quotes(shell: Shell, fake: Fake) -> None:
    done(shell("search", written(shell, {RATE: {"low": 1, "high": 50}}), "--metric", "kl", "--trials", 2, "--out", "quoted"))
    nested = {"measures": {"gamma": {"flows": {"0": {"rate": {"low": 1, "high": 50}}}}}}
    done(shell("search", written(shell, nested), "--metric", "kl", "--trials", 2, "--out", "bare"))
    assert settings("quoted") == settings("bare")


def test_a_metric_that_is_not_measured(shell: Shell, fake: Fake) -> None:
    said = shell("search", written(shell), "--metric", "kll")
    assert (said.code, said.err) == (
        2,
        "error: --metric: unknown metric of this experiment 'kll'; known: kl, tv (did you mean 'kl'?)\n",
    )


def test_another_metric_is_another_search(shell: Shell, fake: Fake) -> None:
    file = written(shell)
    done(shell("search", file, "--metric", "kl", "--trials", 1, "--out", "q"))
    said = shell("search", file, "--metric", "tv", "--trials", 1, "--out", "q")
    assert (said.code, "q: holds other runs: its search.toml is not what was asked" in said.err) == (2, True)


def test_without_optuna_it_says_what_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    said = shell("search", written(shell), "--metric", "kl")
    assert said.code == 2
    assert "measureflow search needs optuna" in said.err
    assert "pip install 'measureflow[search]'" in said.err


def test_trials_are_runs(shell: Shell) -> None:
    done(shell("search", written(shell), "--metric", "tv", "--trials", 2, "--jobs", 2, "--out", "q"))
    for each in trials():
        rows = [json.loads(line) for line in Path(each["folder"], "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == TABLES["steps"] + 1
        assert each["metrics"]["last tv"] == rows[-1]["tv"]
        assert config.read(Path(f"{each['folder']}.toml"))["measures"]["gamma"]["flows"][0]["rate"] == each["settings"][RATE]


def test_a_search_that_was_killed_loses_no_trial(shell: Shell) -> None:
    file = written(shell, {RATE: {"low": 1.0, "high": 3.0}}, steps=300)
    command = [sys.executable, "-m", "measureflow", "search", file, "--metric", "tv", "--trials", "2", "--out", "q"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not Path("q/trial-0000/metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.05)
        process.kill()
    done(shell("search", file, "--metric", "tv", "--trials", 2, "--out", "q"))
    assert [each["status"] for each in trials()] == ["done", "done"]
    assert all("last tv" in each["metrics"] for each in trials())
