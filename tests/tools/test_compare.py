"""The compare command: runs whose curves are known, so that every first time, ratio and word is known too."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small import TABLES, Shell

from measureflow.config import structure as config
from measureflow.config.validate import from_tables
from measureflow.plugins.registry import Registry
from measureflow_tools.analysis.groups import curve, grouped
from measureflow_tools.analysis.levels import Comparison, compare, first_time
from measureflow_tools.analysis.runs import read_all
from measureflow_tools.analysis.words import sooner, table

NONE = "none lies below every start and is reached by two"
HERE = {"device": "cpu", "threads": 1, "platform": "somewhere"}


def recorded(folder: Path, registry: Registry, kl: Sequence[float], every: int = 10, **changes: Any) -> Path:
    """A run folder whose KL at steps 0, every, 2 every, ... is `kl`, at a tenth of a second a step."""
    environment = changes.pop("environment", HERE)
    rate = changes.pop("rate", 2.0)
    tables = TABLES | {"steps": every * (len(kl) - 1)} | changes
    gamma = TABLES["measures"]["gamma"] | {"flows": [{"kind": "wfr", "rate": rate}]}
    tables = {**tables, "measures": {**TABLES["measures"], "gamma": gamma}}
    folder.mkdir(parents=True)
    (folder / "resolved.toml").write_text(config.dumps(config.unstructure(from_tables(tables, registry))))
    (folder / "environment.json").write_text(json.dumps(environment))
    rows = [{"step": every * i, "seconds": i * every / 10, "kl": value} for i, value in enumerate(kl)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def compared(folders: Sequence[Path], registry: Registry, levels: Sequence[float] = ()) -> Comparison:
    return compare(grouped(read_all(folders, registry), registry), "kl", levels)


@pytest.fixture
def pair(tmp_path: Path, registry: Registry) -> list[Path]:
    """primal, of 200 steps to KL 0.05, and dual, of 10: its neurons are 20 times faster, its particles 20 times slower."""
    slow = recorded(tmp_path / "primal", registry, [1.0, 0.5, 0.1, 0.08, 0.05, 0.04], every=50, step=0.02, rate=0.05)
    fast = recorded(tmp_path / "dual", registry, [1.0, 0.3, 0.05, 0.04, 0.01], every=5, step=0.001, rate=20.0)
    return [slow, fast]


def cells(found: Comparison, clock: str) -> list[str]:
    return [str(cell) for cell in table(found).columns[found.clocks.index(clock) + 2].cells]


def test_times_and_ratios_on_every_clock(pair: list[Path], registry: Registry) -> None:
    found = compared(pair, registry, [0.05])
    per_step = (100 + 100 + 50) * 8  # walkers' gradient, the potential of the neurons at walkers and data
    expected = {
        "iterations": ((150, 200), (5, 10)),
        "particle time": ((3.0, 4.0), (0.005, 0.01)),
        "neuron time": ((0.15, 0.2), (0.1, 0.2)),
        "pair interactions": ((150 * per_step, 200 * per_step), (5 * per_step, 10 * per_step)),
        "seconds": ((15.0, 20.0), (0.5, 1.0)),
    }
    assert found.clocks == list(expected)
    for clock, (slow, fast) in expected.items():
        one, other = (found.at(0.05, label, clock) for label in ("primal", "dual"))
        assert (one.earliest, one.latest) == pytest.approx(slow)
        assert (other.earliest, other.latest) == pytest.approx(fast)
        assert other.sooner == pytest.approx((slow[0] / fast[1], slow[1] / fast[0]))


def test_what_the_rows_allow_is_said_and_no_more(pair: list[Path], registry: Registry) -> None:
    found = compared(pair, registry, [0.05])
    assert cells(found, "iterations") == ["150 to 200", "5 to 10\n15 to 40 times sooner"]
    assert cells(found, "neuron time") == ["0.15 to 0.2", "0.1 to 0.2\nopen"]
    assert cells(compared(pair[::-1], registry, [0.05]), "iterations") == ["5 to 10", "150 to 200\n15 to 40 times later"]


def test_between_the_first_two_rows_nothing_is_known(tmp_path: Path, registry: Registry) -> None:
    walk = recorded(tmp_path / "walk", registry, [0.0238, 0.001, 0.002], every=100)
    other = recorded(tmp_path / "other", registry, [0.0238, 0.0179, 0.002], every=100, step=0.02)
    found = compared([other, walk], registry, [0.02])
    assert cells(found, "iterations") == ["0 to 100", "0 to 100\nopen"]
    assert found.notes[:2] == (
        "iterations between two rows of kl, within which no time is known, at most: other: 100; walk: 100",
        "one seed each, and another seed may come out otherwise: other, walk",
    )


def test_a_level_that_one_does_not_reach(pair: list[Path], registry: Registry) -> None:
    found = compared(pair, registry, [0.01, 0.001, 5.0])
    assert found.at(0.01, "primal", "iterations").earliest is None
    assert found.at(0.01, "dual", "iterations").sooner is None
    assert cells(found, "iterations") == [
        "at the start", "at the start", "not reached", "15 to 20", "not reached", "not reached",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("least", "most", "said"),
    [
        (15.0, 40.0, "15 to 40 times sooner"),
        (2.0, None, "over 2 times sooner"),
        (1.0, 3.0, "open"),
        (0.0, None, "open"),
        (0.25, 0.5, "2 to 4 times later"),
        (0.0, 0.5, "over 2 times later"),
    ],
)
def test_the_words_of_a_ratio(least: float, most: float | None, said: str) -> None:
    assert sooner(least, most) == said


def test_a_group_is_sooner_if_it_is_so_on_every_seed(tmp_path: Path, registry: Registry) -> None:
    slow = [recorded(tmp_path / f"slow-{s}", registry, kl, seed=s) for s, kl in enumerate([[9, 9, 9, 1], [9, 9, 9, 9, 1]])]
    for path in slow:  # steps are part of the experiment
        text = (path / "resolved.toml").read_text()
        (path / "resolved.toml").write_text(text.replace("steps = 30", "steps = 40"))
    fast = recorded(tmp_path / "fast", registry, [9, 1], step=0.02)
    found = compared([*slow, fast], registry, [1.0])
    group, alone = (found.at(1.0, one.label, "iterations") for one in found.curves)
    assert (group.earliest, group.latest) == (20, None)  # at the last row in common one of the two is not there yet
    assert alone.sooner == (2.0, None)
    assert cells(found, "iterations") == ["20 or later", "0 to 10\nover 2 times sooner"]


# Groups


def test_runs_that_differ_in_seed_name_and_observers_are_one_group(tmp_path: Path, registry: Registry) -> None:
    values = {0: [4.0, 3.0, 1.0], 1: [4.0, 2.0, 1.0], 2: [4.0, 1.0, 0.5]}
    folders = [
        recorded(tmp_path / f"seed-{s}", registry, kl, seed=s, name=f"n{s}", observers=["progress"] * s) for s, kl in values.items()
    ]
    other = recorded(tmp_path / "other", registry, [4.0, 3.0, 2.0], step=0.02)
    groups = grouped(read_all([folders[0], other, *folders[1:]], registry), registry)
    assert [(group.label, len(group.runs)) for group in groups] == [("n0 (3 seeds)", 3), ("other", 1)]
    one = curve(groups[0], "kl")
    assert (one.median.tolist(), one.low.tolist(), one.high.tolist()) == ([4, 2, 1], [4, 1, 0.5], [4, 3, 1])
    assert one.band == "range"


def test_five_runs_have_quartiles_and_the_steps_in_common(tmp_path: Path, registry: Registry) -> None:
    folders = [recorded(tmp_path / f"s{s}", registry, [10.0, s, s], seed=s) for s in range(1, 6)]
    lines = (folders[0] / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folders[0] / "metrics.jsonl").write_text("".join(lines[:2]))
    (group,) = grouped(read_all(folders, registry), registry)
    one = curve(group, "kl")
    assert (group.label, one.band) == ("small (5 seeds)", "quartiles")
    assert (one.median.tolist(), one.low.tolist(), one.high.tolist()) == ([10, 3], [10, 2], [10, 4])
    assert one.clocks["iterations"].tolist() == [0, 10]


def test_two_groups_of_one_name_are_told_apart(tmp_path: Path, registry: Registry) -> None:
    folders = [recorded(tmp_path / f"{h}-{s}", registry, [1.0, 0.1], seed=s, step=h) for h in (0.01, 0.02) for s in (0, 1)]
    assert [g.label for g in grouped(read_all(folders, registry), registry)] == ["0.01-0 (2 seeds)", "0.02-0 (2 seeds)"]


# Levels, where none are given


@pytest.mark.parametrize(
    ("first", "second", "levels", "how"),
    [
        ([1.0, 0.1, 0.04], [2.0, 0.5, 0.009], (0.5, 0.2, 0.05), "of the grid 1, 2, 5 x 10^k; reached by all"),
        ([1.0, 0.1, 0.1], [1.0, 0.3, 0.15], (0.5, 0.2), "of the grid 1, 2, 5 x 10^k; reached by all"),
        ([0.38, 0.37, 0.34], [0.39, 0.36, 0.35], (0.372, 0.365, 0.357), "evenly between start and end; reached by all"),
        ([3.0, 1.0, -1.0], [3.0, 1.0, -5.0], (2.0, 1.0, 0.0), "evenly between start and end; reached by all"),
        ([1.0, 2.0, 3.0], [1.0, 0.5, 0.2], (), f"{NONE} (a from 1 to 1; b from 1 to 0.2): give one with --level"),
    ],
)
def test_levels_chosen(
    tmp_path: Path, registry: Registry, first: list[float], second: list[float], levels: tuple[float, ...], how: str
) -> None:
    folders = [recorded(tmp_path / "a", registry, first), recorded(tmp_path / "b", registry, second, step=0.02)]
    found = compared(folders, registry)
    assert (found.levels, found.chosen) == (pytest.approx(levels), how)


def test_a_level_reached_by_two_of_three(tmp_path: Path, registry: Registry) -> None:
    curves = {"a": [1.0, 0.01], "b": [1.0, 0.02], "c": [1.0, 1.5]}
    found = compared(
        [recorded(tmp_path / k, registry, v, step=0.01 * (1 + i)) for i, (k, v) in enumerate(curves.items())], registry
    )
    assert (found.levels, found.chosen) == ((0.5, 0.1, 0.02), "of the grid 1, 2, 5 x 10^k; reached by at least two")


# Notes


def test_seconds_of_different_machines_are_flagged(tmp_path: Path, registry: Registry) -> None:
    a = recorded(tmp_path / "a", registry, [1.0, 0.1])
    b = recorded(tmp_path / "b", registry, [1.0, 0.1], step=0.02, environment=HERE | {"threads": 8})
    c = recorded(tmp_path / "c", registry, [1.0, 0.1], step=0.03, environment={})
    alone = compared([a], registry).notes[-1]
    assert alone == "seconds are those of cpu (1 thread, somewhere), start-up and whatever else it did included"
    note = compared([a, b, c], registry).notes[-1]
    assert note == (
        "seconds were measured on different machines and tell little: a on cpu (1 thread, somewhere); "
        "b on cpu (8 threads, somewhere); c on a machine that was not recorded"
    )


def test_pairs_that_cannot_be_counted_say_so(pair: list[Path], registry: Registry) -> None:
    table_of = config.read(pair[1] / "resolved.toml")
    data = {"kind": "file", "path": "nowhere.csv", "domain": "sphere"}
    (pair[1] / "resolved.toml").write_text(config.dumps({**table_of, "data": data}))
    found = compared(pair, registry, [0.05])
    assert found.notes[2].startswith("pair interactions of dual are not known: ")
    assert "nowhere.csv" in found.notes[2]
    assert cells(found, "pair interactions")[1] == "not known"


# The command


def test_compare_prints_draws_and_writes(shell: Shell, pair: list[Path]) -> None:
    said = shell("compare", *pair, "--level", 0.05, "--out", "all.png", "--json", "all.json")
    assert said.code == 0, said
    assert "15 to 40 times sooner" in said.out
    assert "one seed each" in said.out
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads(Path("all.json").read_text())
    assert written["levels"] == [0.05]
    assert written["curves"][1]["clocks"]["iterations"] == [0, 5, 10, 15, 20]
    crossing = {"level": 0.05, "label": "dual", "clock": "iterations", "earliest": 5, "latest": 10, "sooner": [15, 40]}
    assert crossing in written["crossings"]
    assert written["notes"][1].startswith("one seed each")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metric", "kll"), "unknown metric 'kll'; known: kl (did you mean 'kl'?)"),
        (("--out", "all.svg"), "all.svg: a figure ends with .png or .pdf"),
    ],
)
def test_compare_says_what_was_wrong(shell: Shell, pair: list[Path], options: tuple[str, ...], message: str) -> None:
    said = shell("compare", *pair, *options)
    assert said.code == 2
    assert message in said.err
    assert shell("compare", pair[0], pair[0]).err == "error: the same run is given twice; name each once\n"
    assert "not a run folder" in shell("compare", "nowhere").err


def test_seeds_are_left_out_of_a_groups_name(tmp_path: Path, registry: Registry) -> None:
    folders = [
        recorded(tmp_path / f"rate={rate},seed={seed}", registry, [1.0, 0.1], rate=rate, seed=seed)
        for rate in (1.0, 2.0)
        for seed in (0, 1)
    ]
    assert [group.label for group in grouped(read_all(folders, registry), registry)] == ["rate=1.0 (2 seeds)", "rate=2.0 (2 seeds)"]


def test_how_often_it_is_measured_does_not_matter(tmp_path: Path, registry: Registry) -> None:
    """An exponential is met between its rows exactly; what is told of it holds."""
    often = recorded(tmp_path / "often", registry, [math.exp(-0.1 * k) for k in range(41)], every=1, step=0.02)
    rarely = recorded(tmp_path / "rarely", registry, [math.exp(-0.1 * k) for k in range(0, 41, 8)], every=8, step=0.02, rate=3.0)
    found = compared([often, rarely], registry, [0.5])
    for label in ("often", "rarely"):
        one, crossing = next(one for one in found.curves if one.label == label), found.at(0.5, label, "iterations")
        assert first_time(one, "iterations", 0.5) == pytest.approx(10 * math.log(2))
        assert crossing.earliest is not None
        assert crossing.latest is not None
        assert crossing.earliest < 10 * math.log(2) < crossing.latest


def test_a_curve_may_start_at_infinity(tmp_path: Path, registry: Registry) -> None:
    wild = recorded(tmp_path / "wild", registry, [math.inf, math.nan, 0.5, 0.1])
    tame = recorded(tmp_path / "tame", registry, [1.0, 0.5, 0.2, 0.1], step=0.02)
    found = compared([wild, tame], registry)
    assert found.levels == (0.2, 0.1)
    lost = recorded(tmp_path / "lost", registry, [math.inf, math.nan], step=0.03)
    assert compared([lost, tame], registry).levels == ()


def test_one_seed_twice_is_two_runs(tmp_path: Path, registry: Registry) -> None:
    folders = [recorded(tmp_path / name, registry, [1.0, 0.1]) for name in ("a", "b")]
    assert [group.label for group in grouped(read_all(folders, registry), registry)] == ["small (2 runs)"]


def test_without_a_metric_it_takes_one_that_all_have(shell: Shell) -> None:
    for out, metrics in (("a", ["tv", "mass"]), ("b", ["mass", "tv"]), ("c", ["kl"])):
        file = shell.write({"metrics": metrics, "observers": ["checkpoint"]})
        assert shell("run", file, "--out", out, "--quiet").code == 0
    assert "levels of tv" in shell("compare", "a", "b").out
    said = shell("compare", "a", "c")
    assert (said.code, "no metric in common" in said.err) == (2, True)
