"""Run folders, studies and searches that are damaged or were made by others end commands with a message, never a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file
from small import Said, Shell
from test_run import done

from measureflow.config import structure as config
from measureflow.errors import MeasureflowError, printable
from measureflow.plugins.registry import Registry
from measureflow.run.metrics_log import read_metrics
from measureflow_plugins.observers._drawable import literal
from measureflow_plugins.observers._panels import LINES, PANELS, Panel, panels
from measureflow_plugins.observers.curves import draw
from measureflow_tools.analysis.groups import Group, curve
from measureflow_tools.analysis.runs import read
from measureflow_tools.analysis.snapshots import snapshots
from measureflow_tools.plotting import curves
from measureflow_tools.report.curves import figure
from measureflow_tools.studies import study
from measureflow_tools.sweeps.members import Outcome
from measureflow_tools.sweeps.ranges import Range
from measureflow_tools.sweeps.trials import recorded

DEEP = "[" * 5000 + "]" * 5000
ESCAPE = "\x1b[31m"


def refused(said: Said, *words: str) -> None:
    assert said.code == 2, said
    assert said.err.startswith("error: ")
    for word in words:
        assert word in said.err


# The index of a search

TRIAL = {
    "name": "trial-0000",
    "settings": {"step": 0.5},
    "seed": 0,
    "folder": "x",
    "status": "done",
    "metrics": {"a": 1.0},
    "seconds": 1.0,
}


def test_a_search_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps([TRIAL]))
    assert recorded(tmp_path, {"step": Range(0.1, 1.0)}) == [Outcome(**TRIAL)]


DAMAGED = ["", "{", "null", "[1]", "[{}]", DEEP, *(json.dumps([{**TRIAL, **change}]) for change in (
    {"more": 1}, {"settings": {"other": 0.5}}, {"settings": {"step": 2.0}}, {"settings": {"step": "0.5"}}, {"settings": [0.5]},
    {"metrics": {"a": float("nan")}}, {"metrics": {"a": "b"}}, {"metrics": 1}, {"seconds": None}, {"seed": "0"}, {"name": 3},
))]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_index_of_a_search(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(MeasureflowError, match=r"index\.json: is damaged, or of another search"):
        recorded(tmp_path, {"step": Range(0.1, 1.0)})


# Snapshots


def saved(folder: Path, measures: Any, points: torch.Tensor, **others: torch.Tensor) -> None:
    n = len(points)
    tensors = {"nu.points": points, "nu.sign": torch.ones(n), "nu.log_mass": torch.zeros(n), **others}
    facts = {"step": "0", "time": "0.0", "measures": measures if isinstance(measures, str) else json.dumps(measures)}
    (folder / "snapshots").mkdir(exist_ok=True)
    for name in ("step-000000000", "still"):
        save_file(tensors, folder / "snapshots" / f"{name}.safetensors", facts)


NU = {"nu": {"domain": {"kind": "euclidean"}, "whole": 4}}
POINTS = torch.zeros(4, 2)
NAN = torch.full((4, 2), float("nan"))
HUGE = torch.full((4, 2), 1e300, dtype=torch.float64)


def test_snapshots_are_read_again(tmp_path: Path, registry: Registry) -> None:
    saved(tmp_path, NU, POINTS)
    assert snapshots(tmp_path, registry)[0]["nu"].size == 4


@pytest.mark.parametrize("measures", [[], [1], 3, None, {}, {"nu": None}, {"nu": []}, {"nu": {"domain": 1}}, DEEP, "{"])
def test_snapshots_whose_measures_are_damaged(tmp_path: Path, registry: Registry, measures: Any) -> None:
    saved(tmp_path, measures, POINTS)
    with pytest.raises(MeasureflowError, match="cannot be read as a snapshot"):
        snapshots(tmp_path, registry)


@pytest.mark.parametrize(
    "points",
    [torch.zeros(0, 2), torch.zeros(4, 0), torch.zeros(4), NAN, NAN.nan_to_num(float("inf")), HUGE],
    ids=["no rows", "no columns", "no matrix", "nan", "inf", "huge"],
)
def test_snapshots_without_points(tmp_path: Path, registry: Registry, points: torch.Tensor) -> None:
    saved(tmp_path, NU, points)
    with pytest.raises(MeasureflowError, match=r"nu has (no atoms|values that are not finite)"):
        snapshots(tmp_path, registry)


def test_snapshots_whose_masses_do_not_fit(tmp_path: Path, registry: Registry) -> None:
    saved(tmp_path, NU, POINTS, **{"nu.log_mass": torch.zeros(3)})
    with pytest.raises(MeasureflowError, match="do not fit together"):
        snapshots(tmp_path, registry)


def test_snapshots_without_the_measures_that_stay(tmp_path: Path, registry: Registry) -> None:
    saved(tmp_path, NU, POINTS)
    (tmp_path / "snapshots/still.safetensors").unlink()
    with pytest.raises(MeasureflowError, match=r"still\.safetensors: .*: run it again"):
        snapshots(tmp_path, registry)


# Rows and what is drawn of them


def run_with(shell: Shell, metrics: dict[str, float]) -> Path:
    done(shell("run", shell.write({"observers": ["curves"]}), "--out", "run", "--quiet"))
    path = Path("run/metrics.jsonl")
    rows = [
        json.loads(line) | {name: value + i for name, value in metrics.items()}
        for i, line in enumerate(path.read_text().splitlines())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_names_that_are_no_formulas(shell: Shell) -> None:
    names = [r"$\frac{$", "$a_{$", "tv.$a_{$", "nu.$a$b$"]
    run_with(shell, {key: 1.0 for name in names for key in (name, f"{name}.x")})
    done(shell("resume", "run", "--steps", "5", "--quiet"))
    done(shell("figure", "run", "--out", "curves.png"))
    done(shell("compare", "run", "--metric", names[0], "--out", "compared.png"))


def test_a_title_and_a_measure_that_are_no_formulas(shell: Shell) -> None:
    flows = [{"kind": "langevin"}]
    bad = {"measures.$a_{$": {"init": {"kind": "uniform", "size": 3}}, "metrics": [{"kind": "tv", "of": "$a_{$"}]}
    known = {"coupling": {"kind": "gibbs", "energy": "banana"}, "measures.nu.flows": flows, "measures.gamma": None}
    space = {"data": {"kind": "space", "domain": "euclidean", "dim": 2}, "measures.nu.init": {"kind": "uniform", "size": 9}}
    done(shell("run", shell.write({**bad, **known, **space, "observers": ["curves", "snapshots"]}), "--out", "$a_{$", "--quiet"))
    for what in ("curves", "density", "neurons"):
        done(shell("figure", "$a_{$", "--what", what, "--out", f"{what}.png"))


def test_text_is_drawn_letter_by_letter() -> None:
    for name in (r"$\frac{$", "$a$", r"\$a$", "_a"):
        axes = Figure().subplots()
        axes.plot([0, 1], label=literal(name))
        (shown,) = axes.legend().get_texts()
        text, formula = shown._preprocess_math(shown.get_text())
        assert (text.strip(), formula) == (name, False)


HUGE_VALUES = [1e308, -1e308, 1e300, -1e300, 1e101]


def test_values_that_no_axis_holds(shell: Shell, registry: Registry) -> None:
    """An axis takes differences and powers of its limits; warnings are errors here."""
    path = run_with(shell, {"b": 0.5, "b.error": -1.0})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for i, value in enumerate(HUGE_VALUES):
        for row, shown in zip(rows, (0.5, value, -value, 1e100), strict=True):
            row[f"a{i}"] = shown
    rows[1]["b.error"] = 1e308
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done(shell("resume", "run", "--steps", "5", "--quiet"))
    done(shell("figure", "run", "--out", "curves.png"))
    done(shell("report", "run"))
    done(shell("compare", "run", "--metric", "a0", "--out", "compared.png"))
    run = read(Path("run"), registry)
    for axes in curves.draw([Group("run", (run,))], ["a0", "a4"]).axes:
        assert np.isfinite(np.asarray(axes.lines[0].get_ydata())).tolist() == [True, False, False]
    trace = figure([run], ["run"], [Panel("a0", ("a0",))])["data"][0]
    assert [y is not None for y in trace["y"]] == [True, False, False]


def test_runs_whose_values_no_median_holds(shell: Shell, registry: Registry) -> None:
    run_with(shell, {"a": 1e308})
    run = read(Path("run"), registry)
    one = curve(Group("runs", (run, run, attrs.evolve(run, rows=tuple({**row, "a": -1e308} for row in run.rows)), run)), "a")
    assert one.median.tolist() == [np.inf] * 4


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([f"m{i}" for i in range(300)], "Not drawn: m22, m23, m24, m25, m26 and 273 more. To see one: "),
        ([f"m.{i}" for i in range(300)], "Not drawn: m.12, m.13, m.14, m.15, m.16 and 283 more. To see one: "),
    ],
    ids=["panels", "lines"],
)
def test_more_metrics_than_a_figure_holds(shell: Shell, registry: Registry, names: list[str], said: str) -> None:
    run_with(shell, dict.fromkeys(names, 1.0))
    drawn = curves.draw([Group("run", (read(Path("run"), registry),))])
    assert len(drawn.axes) <= PANELS + 1
    assert max(len(axes.containers) for axes in drawn.axes) <= LINES
    (note,) = drawn.axes[-1].texts
    assert said in note.get_text().replace("\n", " ")
    done(shell("resume", "run", "--steps", "5", "--quiet"))
    assert len(curves.draw([Group("run", (read(Path("run"), registry),))], names[-1:]).axes) == 1


def test_settings_of_matplotlib_in_the_working_folder(shell: Shell) -> None:
    """It reads a matplotlibrc when it is imported, so that its settings are there when a command draws."""
    run_with(shell, {})
    rows = read_metrics(Path("run"))

    def drawn() -> list[bytes]:
        done(shell("figure", "run", "--out", "figure.png"))
        draw(rows, Path("curves.png"), "run", [Panel("tv", ("tv",))])
        return [Path(name).read_bytes() for name in ("figure.png", "curves.png")]

    bare = drawn()
    with mpl.rc_context({"text.usetex": True, "font.size": 30}):
        assert drawn() == bare


@pytest.mark.parametrize(("name", "line"), [
    ("metrics", '{"step": 0, "seconds": 0.0, "\\ud800": 1.0}'), ("metrics", '{"step": 0, "seconds": 0.0, "\\u001b[31m": 1.0}'),
    ("metrics", '{"step": 9223372036854775807, "seconds": 0.0, "tv": 1.0}'),
])  # fmt: skip
def test_rows_that_no_run_writes(shell: Shell, registry: Registry, name: str, line: str) -> None:
    run_with(shell, {}).write_text(f"{line}\n")
    with pytest.raises(MeasureflowError, match=r"is damaged|a step beyond"):
        read(Path("run"), registry)


def test_an_event_that_steers_the_terminal(shell: Shell) -> None:
    run_with(shell, {})
    Path("run/events.jsonl").write_text('{"step": 0, "what": "warning", "why": "\\u001b[31m\\ud800"}\n')
    assert r"\x1b[31m\ud800" in done(shell("show", "run")).out
    done(shell("report", "run"))


def test_an_environment_without_bottom(shell: Shell) -> None:
    run_with(shell, {})
    Path("run/environment.json").write_text(DEEP)
    refused(shell("resume", "run", "--steps", "5"), "run/environment.json: missing or damaged")


def test_names_that_steer_the_terminal(shell: Shell) -> None:
    refused(shell("check", shell.write({"name": ESCAPE})), "name: must have no control characters", r"\x1b[31m")
    measure = {"init": {"kind": "uniform", "size": 3}}
    said = shell("check", shell.write({f"measures.a{ESCAPE}": measure}))
    refused(said, "measures: names must have no control characters")
    assert "\x1b" not in said.err
    assert printable(f"a\n\tb{ESCAPE}") == "a\n\tb\\x1b[31m"


@pytest.mark.parametrize("case", ["a b", "../../x", ""])
def test_a_case_whose_name_is_no_folder(tmp_path: Path, registry: Registry, case: str) -> None:
    study_file = Path(study.__file__).with_name("games.toml")
    raw = config.read(study_file)
    raw["cases"][case] = {}
    (tmp_path / "x.toml").write_text(config.dumps(raw))
    with pytest.raises(MeasureflowError, match=r"cases\..*: names a folder"):
        study.read(str(tmp_path / "x.toml"), registry)


def test_a_measure_whose_name_is_a_link(shell: Shell, registry: Registry) -> None:
    """The axis of a report has the name of its clock, and plotly makes links of what is not escaped."""
    name = "<a href='https://evil.example/'>here</a>"
    run_with(shell, {})
    run = read(Path("run"), registry)
    run = attrs.evolve(run, experiment=attrs.evolve(run.experiment, measures={name: run.experiment.measures["nu"]}))
    titles = figure([run], ["run"], panels(run.metrics, run.written)[0])["titles"]
    assert titles[f"time of {name}"] == "time of &lt;a href=&#x27;https://evil.example/&#x27;&gt;here&lt;/a&gt;"
    script = (Path(study.__file__).parents[1] / "report/templates/curves.js").read_text()
    assert "text: figures.main.titles[clock.value]" in script


# Among the processes of torchrun, and before a command starts


@pytest.mark.parametrize("command", ["sweep", "search", "reproduce"])
def test_what_starts_runs_is_not_for_torchrun(shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    file = shell.write({"sweep": {"seeds": 1}} if command == "sweep" else {"search": {"step": {"low": 0.1, "high": 0.2}}})
    monkeypatch.setenv("WORLD_SIZE", "2")
    more: dict[str, tuple[str, ...]] = {"sweep": (str(file),), "search": (str(file), "--metric", "tv"), "reproduce": ("games",)}
    refused(shell(command, *more[command], "--out", "new"), "start it without torchrun")
    assert not Path("new").exists()


@pytest.mark.parametrize(("rank", "says"), [("0", True), ("1", False)])
def test_one_of_the_processes_of_torchrun_does_what_is_done_once(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, rank: str, says: bool
) -> None:
    file = shell.write()
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    said = done(shell("check", file))
    assert bool(said.out) == says


def test_no_plugins_after_the_command_loads_none(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(**_: Any) -> None:
        raise AssertionError("plugins were loaded")

    monkeypatch.setattr("measureflow.cli.load_plugins", loaded)
    refused(shell("check", shell.write(), "--no-plugins"), "--no-plugins: give it before the command")


@pytest.mark.parametrize("place", ["measureflow.cli.load_plugins", "measureflow.cli.settle"])
def test_ctrl_c_before_a_command_listens(shell: Shell, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def pressed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(place, pressed)
    said = shell("plugins")
    assert (said.code, said.out, said.err) == (130, "", "")


def test_ctrl_c_while_the_command_line_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    from measureflow.__main__ import main

    real: Callable[..., Any] = builtins.__import__

    def pressed(name: str, *others: Any) -> Any:
        if name == "measureflow.cli":
            raise KeyboardInterrupt
        return real(name, *others)

    monkeypatch.setattr(builtins, "__import__", pressed)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 130


@pytest.mark.parametrize("name", ["/dev/full", "/dev/null", "fifo", "."])
@pytest.mark.parametrize("command", ["report", "tune"])
def test_a_result_in_place_of_a_device(shell: Shell, name: str, command: str) -> None:
    import os

    os.mkfifo("fifo")
    before = os.lstat(name)
    if command == "report":
        done(shell("run", shell.write(), "--out", "run", "--quiet"))
    said = shell(command, *(["run"] if command == "report" else []), "--out", name)
    refused(said, f"{name}: cannot be written (a ", "has that name")
    assert os.lstat(name).st_rdev == before.st_rdev
    assert os.lstat(name).st_mode == before.st_mode
