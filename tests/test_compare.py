"""The compare command: runs whose curves are known, so that every first time, ratio and word is known too."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from small import TABLES, Shell

from measureflow import config
from measureflow.loading import from_tables
from measureflow.plugins import Registry
from measureflow_plugins.reading.groups import curve, grouped
from measureflow_plugins.reading.levels import Comparison, compare
from measureflow_plugins.reading.runs import read_all
from measureflow_plugins.reading.words import sentences, table, times, verdict

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


def test_first_times_and_ratios_on_every_clock(pair: list[Path], registry: Registry) -> None:
    found = compared(pair, registry, [0.05])
    per_step = (100 + 100 + 50) * 8  # walkers' gradient, the potential of the neurons at walkers and data
    expected = {
        "iterations": (200, 10),
        "particle time": (4.0, 0.01),
        "neuron time": (0.2, 0.2),
        "pair interactions": (200 * per_step, 10 * per_step),
        "seconds": (20.0, 1.0),
    }
    assert found.clocks == list(expected)
    for clock, (slow, fast) in expected.items():
        assert found.at(0.05, "primal", clock).time == pytest.approx(slow)
        assert found.at(0.05, "dual", clock).time == pytest.approx(fast)
        assert found.at(0.05, "primal", clock).ratio == 1
        assert found.at(0.05, "dual", clock).ratio == pytest.approx(slow / fast)


def test_the_speed_up_in_iterations_is_gone_in_neuron_time(pair: list[Path], registry: Registry) -> None:
    told = (
        "dual reaches kl = 0.05 in 20.0 times fewer iterations than primal and with 400 times less particle time, 20.0 times "
        "fewer pair interactions and 20.0 times fewer seconds, but in 1.0 times the neuron time: the speed-up in iterations is "
        "gone in neuron time."
    )
    assert sentences(compared(pair, registry, [0.05]))[0] == told
    assert sentences(compared(pair[::-1], registry, [0.05]))[0] == told  # whoever is named first


def test_a_level_that_one_does_not_reach(pair: list[Path], registry: Registry) -> None:
    found = compared(pair, registry, [0.01, 0.001, 5.0])
    assert found.at(0.01, "primal", "iterations").time is None
    assert found.at(0.01, "dual", "iterations").ratio is None
    told = sentences(found)
    assert told[0].startswith("primal and dual start at or below kl = 5")
    assert told[1] == "dual reaches kl = 0.01 in 20 iterations; primal does not reach it in 250."
    assert told[2] == "Neither primal (in 250 iterations) nor dual (in 20) reaches kl = 0.001."
    cells = [list(column.cells) for column in table(found).columns]
    assert cells[2] == ["0", "0", "not reached", "20", "not reached", "not reached"]


@pytest.mark.parametrize(
    ("ratio", "word"),
    [
        (20.1, "speed-up"),
        (1.25, "speed-up"),
        (1.2499999999, "speed-up"),
        (1.24, "gone"),
        (1.0, "gone"),
        (0.8, "gone"),
        (0.79, "reversed"),
    ],
)
def test_the_rule_of_the_words(ratio: float, word: str) -> None:
    assert verdict(ratio) == word


def test_reversed_and_alike(tmp_path: Path, registry: Registry) -> None:
    plain = recorded(tmp_path / "plain", registry, [1.0, 0.5, 0.1], every=20, step=0.01, rate=1.0)
    large = recorded(tmp_path / "large", registry, [1.0, 0.5, 0.1], every=10, step=0.1, rate=0.1)
    same = recorded(tmp_path / "same", registry, [1.0, 0.5, 0.1], every=20, step=0.01, rate=3.0)
    told = sentences(compared([plain, large, same], registry, [0.1]))
    assert told[0] == (
        "large reaches kl = 0.1 in 2.0 times fewer iterations than plain and with 2.0 times less neuron time, 2.0 times fewer pair "
        "interactions and 2.0 times fewer seconds, but in 5.0 times the particle time: the speed-up in iterations is reversed in "
        "particle time."
    )
    assert (
        told[1]
        == "same and plain reach kl = 0.1 in about as many iterations (1.0 times); same takes 3.0 times as much neuron time."
    )


def test_the_numbers_of_the_words() -> None:
    assert [times(ratio) for ratio in (401.3, 20.06, 1.0, 0.951, 0.05)] == ["401", "20.1", "1.0", "1.0", "0.05"]


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
    (alone,) = compared([a], registry).notes
    assert alone == "seconds are those of cpu (1 thread, somewhere), start-up and whatever else it did included"
    (note,) = compared([a, b, c], registry).notes
    assert note == (
        "seconds were measured on different machines and tell little: a on cpu (1 thread, somewhere); "
        "b on cpu (8 threads, somewhere); c on a machine that was not recorded"
    )


def test_pairs_that_cannot_be_counted_say_so(pair: list[Path], registry: Registry) -> None:
    table_of = config.read(pair[1] / "resolved.toml")
    data = {"kind": "file", "path": "nowhere.csv", "domain": "sphere"}
    (pair[1] / "resolved.toml").write_text(config.dumps({**table_of, "data": data}))
    found = compared(pair, registry, [0.05])
    assert found.notes[0].startswith("pair interactions of dual are not known: ")
    assert "nowhere.csv" in found.notes[0]
    column = list(table(found).columns[found.clocks.index("pair interactions") + 2].cells)
    assert column[1] == "not known"
    assert "pair interactions" not in sentences(found)[0]


# The command


def test_compare_prints_draws_and_writes(shell: Shell, pair: list[Path]) -> None:
    said = shell("compare", *pair, "--level", 0.05, "--out", "all.png", "--json", "all.json")
    assert said.code == 0, said
    assert "20.0" in said.out
    assert "the speed-up in iterations is gone in neuron time" in said.out
    assert Path("all.png").read_bytes().startswith(b"\x89PNG")
    written = json.loads(Path("all.json").read_text())
    assert written["levels"] == [0.05]
    assert written["curves"][1]["clocks"]["iterations"] == [0, 5, 10, 15, 20]
    assert {"level": 0.05, "label": "dual", "clock": "iterations", "time": 10, "ratio": 20} in written["crossings"]
    assert written["sentences"][0].startswith("dual reaches")


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


def test_little_left_of_a_speed_up_is_nearly_gone(tmp_path: Path, registry: Registry) -> None:
    slow = recorded(tmp_path / "slow", registry, [1.0, 0.5, 0.4, 0.2, 0.1, 0.05, 0.04], every=10, step=0.02, rate=2.0)
    fast = recorded(tmp_path / "fast", registry, [1.0, 0.5, 0.05, 0.04], every=10, step=0.02, rate=4.25)
    told = sentences(compared([slow, fast], registry, [0.05]))[0]
    assert told.startswith("fast reaches kl = 0.05 in 2.5 times fewer iterations than slow")  # 50 and 20, of .04 and .085
    assert told.endswith("but in 0.85 times the neuron time: the speed-up in iterations is nearly gone in neuron time.")


def test_seeds_are_left_out_of_a_groups_name(tmp_path: Path, registry: Registry) -> None:
    folders = [
        recorded(tmp_path / f"rate={rate},seed={seed}", registry, [1.0, 0.1], rate=rate, seed=seed)
        for rate in (1.0, 2.0)
        for seed in (0, 1)
    ]
    assert [group.label for group in grouped(read_all(folders, registry), registry)] == ["rate=1.0 (2 seeds)", "rate=2.0 (2 seeds)"]


def test_how_often_it_is_measured_does_not_matter(tmp_path: Path, registry: Registry) -> None:
    """An exponential is met between its rows exactly."""
    often = recorded(tmp_path / "often", registry, [math.exp(-0.1 * k) for k in range(41)], every=1, step=0.02)
    rarely = recorded(tmp_path / "rarely", registry, [math.exp(-0.1 * k) for k in range(0, 41, 8)], every=8, step=0.02, rate=3.0)
    found = compared([often, rarely], registry, [0.5])
    for label in ("often", "rarely"):
        assert found.at(0.5, label, "iterations").time == pytest.approx(10 * math.log(2))


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
