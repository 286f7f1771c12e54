"""Studies: what ships is valid at both scales, and a verdict is what the figures and the bands make it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from small import TABLES, Shell

from measureflow.api import MeasureflowError, Registry, from_tables
from measureflow.config import structure as config
from measureflow.config.experiment import typed
from measureflow_tools.analysis.groups import Group, group
from measureflow_tools.analysis.runs import read as read_run
from measureflow_tools.studies.study import PAPER, SMALL, Check, Scale, Study, members, names, read
from measureflow_tools.studies.verdict import Finding, findings, overall, words
from measureflow_tools.sweeps.cost import spoken

STUDIES = ["dual-vs-primal", "earth", "f2", "fig1-bimodal", "fig1-monomodal", "games", "restart-study"]
LEVEL: dict[str, Any] = {"kind": "speed-up", "of": "fast", "over": "slow", "level": 0.5, "source": "made up"}
STUDY: dict[str, Any] = {
    "title": "Tiny",
    "source": "nobody",
    "metric": "kl",
    "experiment": {**TABLES, "metrics": [{"kind": "kl"}], "observers": ["checkpoint"]},
    "cases": {"slow": {}, "fast": {"measures.gamma.flows.0.rate": 4.0}},
    "small": {},
    "paper": {"settings": {"steps": 5}, "seeds": 2},
    "checks": [
        {"what": "KL at the end", "kind": "value", "of": "fast", "source": "made up", "small": [0.0, 10.0], "paper": [-2.0, -1.0]}
    ],
}


def written(**changes: Any) -> Path:
    Path("tiny.toml").write_text(tomli_w.dumps({**STUDY, **changes}))
    return Path("tiny.toml")


# What ships


def test_the_studies_in_the_box() -> None:
    assert names() == STUDIES


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", [SMALL, PAPER])
def test_every_case_of_every_study_is_an_experiment(registry: Registry, name: str, scale: Any) -> None:
    study, experiment = read(name, registry)
    cases = members(study, experiment, scale, ())
    assert list(cases) == list(study.cases)
    for case, several in cases.items():
        assert len(several) == study.scale(scale).seeds
        for member in several:
            e = typed(member.tables, registry, member.name)  # the earth's files need not be there
            assert e.name == case
            assert any(study.metric in probe.metric.names for probe in e.metrics)
            assert study.figure[0] == study.metric


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_bands_and_says_where_they_are_from(registry: Registry, name: str) -> None:
    study, _ = read(name, registry)
    for scale in (SMALL, PAPER):
        assert any(check.band(scale) for check in study.checks)  # type: ignore[arg-type]
    assert all(len(check.source) > 7 for check in study.checks)


# The verdict


def recorded(folder: Path, registry: Registry, kl: Sequence[float], rate: float = 2.0) -> Group:
    """One run of ten steps a row."""
    gamma = {**TABLES["measures"]["gamma"], "flows": [{"kind": "wfr", "rate": rate}]}
    tables = {**TABLES, "steps": 10 * (len(kl) - 1), "measures": {**TABLES["measures"], "gamma": gamma}}
    folder.mkdir(parents=True)
    (folder / "resolved.toml").write_text(config.dumps(config.unstructure(from_tables(tables, registry))))
    (folder / "environment.json").write_text("{}")
    rows = [{"step": 10 * i, "seconds": float(i), "kl": value} for i, value in enumerate(kl)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return group(folder.name, [read_run(folder, registry)], registry)


@pytest.fixture
def groups(tmp_path: Path, registry: Registry) -> dict[str, Group]:
    slow = recorded(tmp_path / "slow", registry, [1.0, 0.9, 0.8, 0.7, 0.5, 0.4, 0.3, 0.2, 0.4], rate=1.0)
    return {"slow": slow, "fast": recorded(tmp_path / "fast", registry, [1.0, 0.5, 0.2, 0.1, 0.3], rate=4.0)}


def study(*checks: Check) -> Study:
    return Study("t", "s", "kl", {"slow": {}, "fast": {}}, Scale(), Scale(), checks=checks)


def test_speed_ups_by_clock(groups: dict[str, Group]) -> None:
    iterations = Check(**LEVEL, what="iterations", small=(4.0, 4.0))
    neurons = Check(**{**LEVEL, "clock": "neuron time"}, what="neurons", small=(0.9, 0.99))
    never = Check(**{**LEVEL, "level": 0.01}, what="never", small=(0.0, 9.0))
    found = findings(study(iterations, neurons, never), "small", groups)
    assert [finding.figure for finding in found] == [4.0, pytest.approx(1.0), None]
    assert [finding.inside for finding in found] == [True, False, False]
    assert words(found[0]) == "iterations: 4, inside 4 to 4 (made up)"
    assert words(found[1]) == "neurons: 1, OUTSIDE 0.9 to 0.99 (made up)"
    assert words(found[2]) == "never: not reached, OUTSIDE 0 to 9 (made up)"
    assert overall(found) == "not reproduced: 2 of 3 figures lie outside their bands (neurons, never)"


def test_late_values_and_their_ratio(groups: dict[str, Group]) -> None:
    value = Check("late", "value", "slow", "made up", after=0.5, paper=(0.3, 0.5))
    ratio = Check("ratio", "value", "fast", "made up", over="slow", after=0.5, paper=(0.0, 1.0))
    unknown = Check("free", "value", "fast", "made up")
    best = Check("best", "value", "slow", "made up", best="kl", paper=(0.2, 0.2))
    assert findings(study(best), "paper", groups)[0].figure == 0.2  # the last is .4
    found = findings(study(value, ratio, unknown), "paper", groups)
    assert [finding.figure for finding in found] == [0.4, pytest.approx(0.2 / 0.4), 0.3]  # medians of the later half
    assert [finding.inside for finding in found] == [True, True, None]
    assert words(found[2]) == "free: 0.3 (no band is stored at this scale)"
    assert overall(found) == "reproduced: all 2 figures lie in their bands"
    assert overall([found[2]]) == "nothing to judge: no band is stored at this scale"


def test_a_case_that_failed_has_no_figure(groups: dict[str, Group]) -> None:
    check = Check(**LEVEL, what="gone", small=(0.0, 99.0))
    assert findings(study(check), "small", {"slow": groups["slow"]}) == [Finding(check, None, (0.0, 99.0))]


# The command


def test_it_runs_draws_and_judges_and_goes_on(shell: Shell) -> None:
    said = shell("reproduce", str(written()), "--out", "out", "--jobs", "2")
    assert said.code == 0, said
    assert "Tiny (nobody)" in said.out
    assert "slow: 3 steps, about 0 seconds here" in said.out
    assert said.out.splitlines()[-1] == "reproduced: all 1 figures lie in their bands"
    record = json.loads(Path("out/verdict.json").read_text())
    assert record["findings"][0]["inside"] is True
    assert all(Path(f"out/{name}.png").read_bytes()[:4] == b"\x89PNG" for name in ("comparison", "curves"))
    stamps = {path: path.stat().st_mtime_ns for path in Path("out").glob("*/metrics.jsonl")}
    assert len(stamps) == 2
    assert shell("reproduce", str(written()), "--out", "out").code == 0
    assert stamps == {path: path.stat().st_mtime_ns for path in Path("out").glob("*/metrics.jsonl")}


def test_outside_its_band_it_ends_with_one(shell: Shell) -> None:
    said = shell("reproduce", str(written()), "--scale", "paper", "--out", "out")
    assert said.code == 1
    assert "fast: 2 runs of 5 steps" in said.out
    assert said.out.splitlines()[-1].startswith("not reproduced: 1 of 1 figures lie outside")
    assert sorted(path.name for path in Path("out").glob("*=*.toml")) == [
        "fast,seed=0.toml", "fast,seed=1.toml", "slow,seed=0.toml", "slow,seed=1.toml",
    ]  # fmt: skip


def test_settings_of_the_user_come_last(shell: Shell, registry: Registry) -> None:
    found, experiment = read(str(written()), registry)
    cases = members(found, experiment, "paper", ("steps=7", "seed=5"))
    assert [(member.name, member.tables["steps"], member.tables["seed"]) for member in cases["slow"]] == [
        ("slow,seed=5", 7, 5),
        ("slow,seed=6", 7, 6),
    ]


def test_mistakes_are_said(shell: Shell, registry: Registry) -> None:
    with pytest.raises(MeasureflowError, match=r"unknown study 'fig1'.*known: dual-vs-primal, .*path of a study file"):
        read("fig1", registry)
    bad = {"what": "x", "kind": "value", "of": "fats", "source": "made up", "small": [2.0, 1.0]}
    said = shell("reproduce", str(written(checks=[bad])))
    assert said.code == 2
    assert "checks.0.small: small = [2.0, 1.0]: two numbers are needed, the lower one first" in said.err
    said = shell("reproduce", str(written(checks=[{**bad, "small": [1.0, 2.0]}], small={"cases": {"slwo": {}}})))
    assert "checks.0.of: unknown case 'fats'" in said.err
    assert "small.cases.slwo: unknown case 'slwo'" in said.err
    Path("tiny.toml").write_text(tomli_w.dumps({key: value for key, value in STUDY.items() if key != "experiment"}))
    assert "experiment: is missing" in shell("reproduce", "tiny.toml").err


@pytest.mark.parametrize(
    ("taken", "told"),
    [(0.4, "0 seconds"), (119.0, "119 seconds"), (120.0, "2.0 minutes"), (9000.0, "2.5 hours"), (2e5, "2.3 days")],
)
def test_durations_in_words(taken: float, told: str) -> None:
    assert spoken(taken) == told


def test_a_folder_of_something_else_is_left_alone(shell: Shell) -> None:
    Path("home/fast").mkdir(parents=True)
    Path("home/fast/thesis.txt").write_text("years of work")
    said = shell("reproduce", str(written()), "--out", "home")
    assert said.code == 2
    assert "home: exists already and has no study.toml" in said.err
    Path("home/study.toml").write_text("# tiny.toml\n# small\n")
    said = shell("reproduce", str(written()), "--out", "home")
    assert said.code == 2
    assert "home/fast: is in the way and is no run folder" in said.err
    assert Path("home/fast/thesis.txt").read_text() == "years of work"


def test_what_a_study_reads_is_asked_for_before_it_runs(shell: Shell) -> None:
    said = shell("reproduce", str(written()), "--set", "metrics=[]", "--out", "out")
    assert (said.code, Path("out").exists()) == (2, False)
    assert "case 'slow' does not measure what the study reads: unknown metric 'kl'" in said.err
    said = shell("reproduce", str(written()), "--set", "seed=abc", "--out", "out")
    assert said.code == 2
    assert "seed='abc': give a whole number from 0" in said.err
