"""What README.md and CONTRIBUTING.md say is what the project does; only the two set-up commands are not run here."""

import functools
import itertools
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import attrs
import click
import numpy as np
import pytest
import torch

import measureflow.plugins.registry
from measureflow.cli import cli, main
from measureflow.config import structure as config
from measureflow.config.build import build
from measureflow.config.experiment import Experiment, typed
from measureflow.config.validate import from_tables, load
from measureflow.dynamics.simulate import run
from measureflow.plugins.registry import Hooks, Registry

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs" / "examples" / "dual-bimodal.toml"
PLUGIN = ROOT / "docs" / "example_plugin"
SMALL = ("steps=2", "data.train=200", "data.test=100")


def blocks(language: str, text: str = README) -> list[str]:
    """The fenced blocks of a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(title: str) -> str:
    """The text under a heading of the README."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    return found


SETUP = [block.strip() for block in blocks("sh") if "-m venv" in block]
COMMANDS = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.startswith("measureflow ")]
CHANGES = [tuple(cell.strip(" `") for cell in row) for row in re.findall(r"^\|(.*)\|( `--set .*)\|$", README, re.MULTILINE)]


def settings_in(words: str) -> tuple[str, ...]:
    """The values of the `--set` options in a piece of shell."""
    parts = shlex.split(words)
    return tuple(value for option, value in itertools.pairwise(parts) if option == "--set")


def moved(experiment: Experiment, registry: Registry) -> None:
    """Runs an experiment and fails where nothing moves or where a measure leaves the finite numbers."""
    built = build(experiment, registry)
    systems = list(run(built.dynamics, built.system, experiment.steps))
    assert systems[-1].step == experiment.steps > 0
    for name in experiment.measures:
        before, after = systems[0][name], systems[-1][name]
        assert torch.isfinite(after.points).all()
        assert torch.isfinite(after.log_mass).all()
        assert not torch.equal(before.points, after.points)


# Set up


def test_there_are_two_set_up_commands_of_one_line() -> None:
    assert len(SETUP) == 2
    for command in SETUP:
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt -e ")
        assert command.count(" && ") == 2
    assert SETUP[1].endswith("'.[dev]' && .venv/bin/python -m pytest -n 2")
    assert "\ntorch==2.13.0  #" in (ROOT / "constraints.txt").read_text()


def test_the_commands_do_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    monkeypatch.chdir(tmp_path)
    first = SETUP[0].split(" && ")[2].removeprefix(".venv/bin/")
    small = {
        "run": [part for setting in SMALL for part in ("--set", setting)],
        "resume": ["--steps", "4"],
        "bench": ["--rounds", "1"],
        "error": ["--set", "steps=2", "--set", "data.train=100", "--set", "data.test=50", "--seeds", "2", "--resamples", "2"],
        "sweep": [part for setting in (*SMALL, "sweep.seeds=2", "sweep.grid={}") for part in ("--set", setting)],
        "search": [*(part for setting in SMALL for part in ("--set", setting)), "--trials", "2"],
        "reproduce": [part for setting in SMALL for part in ("--set", setting)],
        "tune": ["--every", "500", "--out", "costs.json"],
    }
    shown = {}
    for command in [first, *(c for c in COMMANDS if "decay" not in c and "cuda" not in c)]:
        _, name, *rest = shlex.split(command)
        with pytest.raises(SystemExit) as stop:
            main([name, *rest, *small.get(name, [])])
        assert (stop.value.code or 0) == (name == "reproduce"), command  # two steps reproduce nothing
        shown[name] = capsys.readouterr().out
    every = click.Group(commands=dict(cli.commands))
    measureflow.plugins.registry.load().add_commands(every)
    assert shown.keys() == every.commands.keys()
    folder = tmp_path / "runs" / "dual-bimodal"
    for name in (
        "config.toml",
        "resolved.toml",
        "environment.json",
        "metrics.jsonl",
        "reducers.jsonl",
        "checkpoints",
        "figures/curves.png",
    ):
        assert (folder / name).exists()
        assert f"`{name}" in README
    assert "step 4 reached" in shown["resume"]
    assert all(word in shown["show"] for word in ("kl ", "score ", "tv ", "curves.png"))


def test_every_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")]
    assert "docs/images/dual-bimodal.png" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []


# The experiment, and changes to it


def test_the_experiment_shown_is_the_example() -> None:
    assert blocks("toml", section("The experiment")) == [EXAMPLE.read_text(encoding="utf-8")]


def test_the_table_of_changes_was_found() -> None:
    assert len(CHANGES) == 14


@pytest.mark.parametrize(("what", "words"), CHANGES, ids=[what for what, _ in CHANGES])
def test_a_change_of_settings_changes_the_run(registry: Registry, what: str, words: str) -> None:
    changed = load(EXAMPLE, registry, (*SMALL, *settings_in(words)))
    assert changed != load(EXAMPLE, registry, SMALL), what
    moved(attrs.evolve(changed, steps=2), registry)


@pytest.mark.parametrize("block", blocks("toml", section("Change it")), ids=["sphere", "euclidean"])
def test_own_data(registry: Registry, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).normal(loc=(1, 0, 0), size=(100, 3))
    np.savetxt("points.csv", points, delimiter=",", header="x,y,z", comments="")
    tables = tomllib.loads(EXAMPLE.read_text()) | tomllib.loads(block) | {"steps": 2}
    moved(from_tables(tables, registry), registry)


# The plugin


def test_the_plugin_shown_is_the_example() -> None:
    shown = section("A plugin in 20 lines")
    source = (PLUGIN / "measureflow_decay.py").read_text()
    assert blocks("python", shown) == [source]
    (entry,) = blocks("toml", shown)
    assert entry in (PLUGIN / "pyproject.toml").read_text()
    assert sum(1 for line in source.splitlines() if line.strip()) <= 22


def test_the_plugin_is_used_as_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))
    points = [entry_points(group="measureflow")["builtin"], EntryPoint("decay", "measureflow_decay", "measureflow")]
    registry = measureflow.plugins.registry.load(points)
    (command,) = (command for command in COMMANDS if "decay" in command)
    experiment = load(EXAMPLE, registry, (*SMALL, *settings_in(command)))
    assert [flow.kind for flow in experiment.measures["gamma"].flows] == ["wfr", "decay"]
    moved(experiment, registry)


def test_every_hook_is_named() -> None:
    assert [hook for hook in vars(Hooks) if not hook.startswith("_") and hook not in section("A plugin in 20 lines")] == []


# The rest


def test_a_gpu_is_asked_for_as_shown(registry: Registry) -> None:
    (command,) = (command for command in COMMANDS if "cuda" in command)
    tables = functools.reduce(config.override, settings_in(command), config.read(EXAMPLE))
    experiment = typed(tables, registry, command)  # not `load`, which refuses a device that is not to be had
    assert (experiment.device, experiment.reducer) == ("cuda", None)


def test_the_python_shown_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (source,) = blocks("python", section("From Python"))
    names: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), names)
    assert len([line for line in source.splitlines() if line]) <= 10
    rows: list[dict[str, float]] = names["rows"]  # type: ignore[assignment]
    assert [row["step"] for row in rows if "kl" in row] == [0, 10, 20]
    said = capsys.readouterr()
    assert "dual-bimodal 20/20 kl" in said.err  # what the bar is where there is no terminal
    assert re.match(r"\{'step': 20, 'kl': [\d.]+, 'score': [\d.]+, 'tv': [\d.]+\} Particles\(64 x 15 on ", said.out)


def test_the_rooms_told_are_those_that_are_held() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    held = next(contract["layers"] for contract in contracts if contract.get("containers") == ["measureflow"])
    told = re.findall(r"^\| (`.*?`) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    entries = [re.findall(r"`(\w+)`", line) for line in told]
    layers = [entry for layer in reversed(held) for entry in layer.split(" : ")]
    assert sorted(name for entry in entries for name in entry) == sorted(name for name in layers if name != "__main__")
    ranks = {name: rank for rank, layer in enumerate(reversed(held)) for name in layer.split(" : ")}
    lowest = [min(ranks[name] for name in entry) for entry in entries]
    assert lowest == sorted(lowest), "from the bottom"


@pytest.mark.parametrize("failing", [None, "pytest", "ruff", "mypy", "lint-imports"])
@pytest.mark.parametrize("shared", [False, True], ids=["clone", "shared"])
def test_ci_runs_the_tests_as_the_readme_says(tmp_path: Path, shared: bool, failing: str | None) -> None:
    """.ci/run in a copy whose programs only write down how, and beside which folders, they were called."""
    here, calls = tmp_path / "here", tmp_path / "calls"
    (here / ".ci").mkdir(parents=True)
    for name in (".ci/run", "README.md", ".gitignore"):
        shutil.copy(ROOT / name, here / name)
    if shared:
        (tmp_path / "shared").mkdir()
    program = tmp_path / "program"
    program.write_text(
        f'#!/bin/sh\n[ -d ../shared ] && beside=" beside shared"\necho "${{0#$PWD/}} $*$beside" >> "{calls}"\n'
        'if [ "$2" = venv ]; then mkdir -p .venv/bin; for name in python pip ruff mypy lint-imports; do\n'
        f'cp "{program}" .venv/bin/$name; done; fi\n'
        f'[ "$2" != pytest ] || echo "$# passed in 1s"\ncase "$(basename "$0") $*" in *"{failing}"*) exit 1;; esac\n'
    )
    program.chmod(0o755)
    (tmp_path / "bin").mkdir()
    shutil.copy(program, tmp_path / "bin" / "python3")
    path = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    done = subprocess.run([here / ".ci" / "run"], env=path, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/")
    ran = [line.replace(f"{tmp_path}/bin/", "") for line in calls.read_text().splitlines()]
    wanted = [" ".join(shlex.split(part)) for part in SETUP[1].split(" && ")]
    assert ran[:3] == wanted  # never beside shared
    assert (here / ".venv").exists() is not shared
    if failing is None:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "4 passed in 1s"
        checks = [f".venv/bin/{check}" for check in ("ruff check .", "ruff format --check .", "mypy ", "lint-imports ")]
        assert ran[3:] == [*checks, *[".venv/bin/python -m pytest -m shared beside shared"] * shared]
    else:
        assert done.returncode != 0
    assert not list(tmp_path.glob("tmp*")), "the copy is removed"
