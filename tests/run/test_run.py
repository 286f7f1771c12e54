"""The command line from end to end: what a run leaves behind, and that stopping and going on changes nothing."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small import TABLES, Said, Shell, readable

from measureflow.config import structure as config
from measureflow.config.experiment import Experiment
from measureflow.config.validate import from_tables, load
from measureflow.core.measure import System
from measureflow.observe.observer import Observer, Row, See, Stage
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request
from measureflow.run import runner as record
from measureflow.run.metrics_log import read_metrics
from measureflow_plugins.observers.progress import Bar

EXAMPLES = sorted((Path(__file__).parents[2] / "docs" / "examples").glob("*.toml"))
GAUSSIAN = {"kind": "file", "path": "points.npy", "domain": {"kind": "euclidean", "base": "gaussian"}}
WITH_CURVES = {**TABLES, "observers": ["progress", "checkpoint", "curves"]}


def done(said: Said) -> Said:
    assert said.code == 0, said
    return said


def checkpoints(run: str) -> list[Path]:
    return sorted(Path(run, "checkpoints").glob("*.json"))


def parts(run: str) -> list[Path]:
    """The files of the newest checkpoint."""
    newest = checkpoints(run)[-1]
    return [newest.with_name(part["name"]) for part in json.loads(newest.read_text())["parts"]]


def tensors(run: str) -> dict[str, torch.Tensor]:
    (part,) = parts(run)
    return load_file(part)


def clock(run: str) -> dict[str, float]:
    newest = json.loads(checkpoints(run)[-1].read_text())
    return {key: newest[key] for key in ("step", "time", "seed")}


def rows(run: str) -> list[dict[str, float]]:
    found = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def same(left: str, right: str) -> None:
    """Two runs ended in the same state, bit for bit, and recorded the same numbers."""
    a, b = tensors(left), tensors(right)
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name
    assert clock(left) == clock(right)
    assert rows(left) == rows(right)


# --- the run folder ---


def test_a_run_leaves_everything_needed_to_repeat_it(shell: Shell, registry: Registry) -> None:
    file = shell.write(tables=WITH_CURVES)
    said = done(shell("run", file, "--set", "seed=7", "--out", "new"))
    assert said.out.splitlines() == ["step 3 reached; recorded in new", "figure new/figures/curves.png"]
    assert "small 3/3 kl" in said.err
    folder = Path("new")
    parts = {"config.toml", "resolved.toml", "environment.json", "metrics.jsonl", "reducers.jsonl", "checkpoints", "figures"}
    assert {path.name for path in folder.iterdir()} == parts
    assert (folder / "config.toml").read_text() == file.read_text() + "# --set seed=7\n"
    assert load(folder / "resolved.toml", registry) == load(file, registry, ("seed=7",))
    assert load(folder / "resolved.toml", registry).seed == 7
    assert [row["step"] for row in rows("new")] == [0, 1, 2, 3]
    assert [sorted(row) for row in rows("new")] == [["kl", "step", "tv"], ["step", "tv"], ["step", "tv"], ["kl", "step", "tv"]]
    assert clock("new") == {"step": 3, "time": 0.01 + 0.01 + 0.01, "seed": 7}
    assert {f"nu.{part}" for part in ("points", "sign", "log_mass")} < tensors("new").keys()
    assert (folder / "figures" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_environment_is_recorded(shell: Shell) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    facts = json.loads(Path("new/environment.json").read_text())
    assert facts["packages"]["torch"] == version("torch")
    assert facts["packages"]["measureflow"] == version("measureflow")
    assert facts["argv"] == sys.argv
    assert facts["device"] == ("cpu" if not torch.cuda.is_available() else torch.cuda.get_device_name())
    assert {name: len(value) for name, value in facts["measures"].items()} == dict.fromkeys(
        ("data", "test", "teacher", "nu", "gamma"), 64
    )


def test_a_run_without_out_goes_under_runs(shell: Shell) -> None:
    done(shell("run", shell.write(), "--quiet"))
    (folder,) = Path("runs").iterdir()
    assert folder.name.endswith("-small")
    assert len(rows(str(folder))) == 4


def test_quiet_prints_nothing(shell: Shell) -> None:
    assert shell("run", shell.write(tables=WITH_CURVES), "--out", "new", "--quiet") == Said(0, "", "")
    assert shell("resume", "new", "--steps", "5", "--quiet") == Said(0, "", "")


def test_quiet_still_prints_errors(shell: Shell) -> None:
    said = shell("run", shell.write({"step": 0}), "--quiet")
    assert (said.code, said.out) == (2, "")
    assert "step = 0.0" in said.err


def test_the_same_seed_gives_the_same_run_and_another_does_not(shell: Shell) -> None:
    file = shell.write()
    for out, seed in (("one", 1), ("two", 1), ("other", 2)):
        done(shell("run", file, "--set", f"seed={seed}", "--out", out))
    same("one", "two")
    assert not torch.equal(tensors("one")["nu.points"], tensors("other")["nu.points"])


def test_set_reaches_into_lists_and_takes_bare_words(shell: Shell, registry: Registry) -> None:
    settings = ("measures.gamma.flows.0.rate=5", "order=simultaneous", "measures.gamma.init={kind = 'uniform', size = 3}")
    done(shell("run", shell.write(), *(part for setting in settings for part in ("--set", setting)), "--out", "new"))
    e = load(Path("new/resolved.toml"), registry)
    assert e.measures["gamma"].flows[0].rate(0) == 5.0
    assert e.order.kind == "simultaneous"
    assert tensors("new")["gamma.points"].shape == (3, 3)


def test_zero_steps_record_the_start(shell: Shell) -> None:
    done(shell("run", shell.write(tables=WITH_CURVES), "--set", "steps=0", "--out", "new"))
    assert [row["step"] for row in rows("new")] == [0]


# --- check, show, plugins ---


def test_check_prints_what_would_run_and_makes_nothing(shell: Shell, registry: Registry) -> None:
    file = shell.write()
    said = done(shell("check", file, "--set", "step=0.5"))
    assert "# nu: 100 atoms in d = 3" in said.out
    assert "# teacher: 1 atoms in d = 3" in said.out
    assert "on cpu" in said.out or "on cuda" in said.out
    again = shell.folder / "again.toml"
    again.write_text(said.out)
    assert load(again, registry) == load(file, registry, ("step=0.5",))
    assert {path.name for path in shell.folder.iterdir()} == {"small.toml", "again.toml"}


def test_show_prints_the_last_value_of_every_metric(shell: Shell) -> None:
    done(shell("run", shell.write(tables=WITH_CURVES), "--out", "new"))
    lines = done(shell("show", "new")).out.splitlines()
    assert lines[0].startswith("small: step 3 of 3, ")
    last = rows("new")[-1]
    assert [line.split() for line in lines[1:3]] == [["kl", f"{last['kl']:.6g}"], ["tv", f"{last['tv']:.6g}"]]
    assert lines[3] == "  figure new/figures/curves.png"


def test_show_does_not_need_the_data(shell: Shell) -> None:
    done(shell("run", from_file(shell), "--out", "new"))
    Path("points.npy").unlink()
    assert "small: step 3 of 3" in done(shell("show", "new")).out


def test_show_counts_to_where_a_resumed_run_went(shell: Shell) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    done(shell("resume", "new", "--steps", "5"))
    assert done(shell("show", "new")).out.startswith("small: step 5 of 5, ")


def test_plugins_lists_every_component_with_its_origin(shell: Shell, registry: Registry) -> None:
    lines = done(shell("plugins")).out.splitlines()
    for (_, kind), origin in registry.origins.items():
        assert [kind, *origin.split()] in [line.split() for line in lines]
    assert "flow" in lines


@pytest.mark.parametrize("arguments", [["--help"], ["run", "-h"], ["--version"]])
def test_help_and_version(shell: Shell, arguments: list[str]) -> None:
    said = done(shell(*arguments))
    assert "Usage: measureflow" in said.out or version("measureflow") in said.out


def test_python_m_measureflow(shell: Shell) -> None:
    file = shell.write({"step": 0})
    said = subprocess.run([sys.executable, "-m", "measureflow", "run", file], capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == f"error: {file}: 1 problem(s)\n  step: step = 0.0: must be a finite number above 0 and at most 1e+18\n"


# --- a state that is no longer finite ---


@pytest.mark.parametrize(
    ("changes", "flow", "measure", "trouble"),
    [
        ({"step": 1e18}, "wfr", "gamma", "became non-finite"),
        (
            {"step": 1000.0, "data": GAUSSIAN, "coupling.feature": "relu-affine", "metrics": ["tv"], "measures.gamma.flows": []},
            "langevin",
            "nu",
            "ran away",
        ),
    ],
)
def test_a_state_that_explodes_stops_the_run(shell: Shell, changes: dict[str, Any], flow: str, measure: str, trouble: str) -> None:
    np.save("points.npy", np.random.default_rng(0).standard_normal((20, 3)))
    said = shell("run", shell.write({**changes, "steps": 50}), "--out", "new")
    assert said.code == 2
    assert "Traceback" not in said.err
    (last,) = checkpoints("new")[-1:]
    failed = int(clock("new")["step"]) + 1
    assert f"{measure} {trouble} at step {failed} " in said.err
    assert f"in its flow '{flow}' (measures.{measure}.flows." in said.err
    assert f"lower step (now {changes['step']:g}) or measures.{measure}.flows." in said.err
    assert f"the last good state, of step {failed - 1}, is {last}" in said.err
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors("new").values())
    assert [row["step"] for row in rows("new")] == list(range(failed))
    assert failed < 50


# --- resume ---


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
@pytest.mark.parametrize("noise", ["plain", "antithetic"])
def test_resume_is_bit_for_bit(shell: Shell, order: str, noise: str) -> None:
    file = shell.write({"order": order, "measures.nu.flows.1.noise": noise})
    done(shell("run", file, "--set", "steps=200", "--out", "whole", "--quiet"))
    done(shell("run", file, "--set", "steps=100", "--out", "parts", "--quiet"))
    assert 100 % TABLES["metrics"][0]["every"] != 0
    assert "kl" in rows("parts")[-1]  # measured as a last step, and not to be kept as one
    done(shell("resume", "parts", "--steps", "200", "--quiet"))
    same("whole", "parts")


OPTIMISTIC = {"kind": "optimistic"}
SHORT = {"kind": "minibatch", "batch": 20, "scheme": OPTIMISTIC}
KINETIC = {"kind": "kinetic-langevin"}
WRAPPED = {
    "minibatch around optimistic": {"order": SHORT},
    "substeps around optimistic": {"order": {"kind": "substeps", "of": OPTIMISTIC}},
    "substeps around minibatch around optimistic": {"order": {"kind": "substeps", "of": SHORT}},
    "repeat around kinetic-langevin": {"measures.nu.flows": [{"kind": "repeat", "times": 2, "flow": KINETIC}]},
    "repeat around repeat": {
        "measures.nu.flows": [{"kind": "repeat", "times": 2, "flow": {"kind": "repeat", "times": 2, "flow": KINETIC}}]
    },
}


@pytest.mark.parametrize("changes", WRAPPED.values(), ids=WRAPPED)
def test_resume_is_bit_for_bit_when_wrapped(shell: Shell, changes: dict[str, Any]) -> None:
    gradients = {"measures.nu.flows": [{"kind": "wasserstein"}], "measures.gamma.flows": [{"kind": "wfr"}]}
    file = shell.write({**gradients, **changes})
    done(shell("run", file, "--set", "steps=20", "--out", "whole", "--quiet"))
    done(shell("run", file, "--set", "steps=10", "--out", "parts", "--quiet"))
    done(shell("resume", "parts", "--steps", "20", "--quiet"))
    same("whole", "parts")


def test_seconds_go_on_where_they_stopped(shell: Shell) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    done(shell("resume", "new", "--steps", "6"))
    seconds = [row["seconds"] for row in read_metrics(Path("new"))]
    assert seconds == sorted(seconds)
    assert len(seconds) == 7


@pytest.mark.parametrize(
    "torn", [b'{"step": 4, "seco', '{"step": 4, "\u00e9'.encode()[:-1], b"\0" * 60, b"{", b'{"step": 4, "seconds": 1.0}']
)
def test_a_torn_last_line_is_dropped(shell: Shell, torn: bytes) -> None:
    file = shell.write()
    done(shell("run", file, "--set", "steps=6", "--out", "whole"))
    done(shell("run", file, "--out", "new"))
    with Path("new/metrics.jsonl").open("ab") as metrics:
        metrics.write(torn)
    assert "step 3 of 3" in done(shell("show", "new")).out
    done(shell("resume", "new", "--steps", "6"))
    same("whole", "new")


def test_a_log_without_a_whole_line_is_begun_anew(shell: Shell) -> None:
    for out in ("whole", "new"):
        done(shell("run", shell.write(), "--out", out))
    shutil.rmtree("new/checkpoints")
    Path("new/metrics.jsonl").write_text('{"step": 0, "secon')
    assert "step 0 of 3" in done(shell("show", "new")).out
    done(shell("resume", "new"))
    same("whole", "new")


@pytest.mark.parametrize("line", [b"}", b"3", b"{}", b"[]", b"\xc3", b"\0"])
def test_a_damaged_line_is_named(shell: Shell, line: bytes) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    path = Path("new/metrics.jsonl")
    path.write_bytes(line + b"\n" + path.read_bytes())
    for command in (["show", "new"], ["resume", "new", "--steps", "6"]):
        said = shell(*command)
        assert (said.code, said.err) == (2, "error: new/metrics.jsonl: line 1 is damaged; remove it to go on\n")


def from_file(shell: Shell) -> Path:
    """small.toml with data from points.npy."""
    points = np.random.default_rng(0).standard_normal((20, 3))
    np.save("points.npy", points)
    data = {"kind": "file", "path": "points.npy", "domain": "sphere", "normalise": True}
    return shell.write(tables={**TABLES, "data": data, "metrics": ["tv"]})


def test_a_folder_that_is_no_run(shell: Shell) -> None:
    for folder in ("gone", "."):
        for command in ("resume", "show"):
            said = shell(command, folder)
            assert (said.code, said.err) == (2, f"error: {folder}: not a run folder (it has no resolved.toml)\n")


def test_a_finished_run(shell: Shell) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    before = Path("new/metrics.jsonl").read_text()
    for more in ([], ["--steps", "2"]):
        said = shell("resume", "new", *more)
        assert said.code == 2
        assert "new: already at step 3 of " in said.err
        assert "--steps N with N > 3 goes on to step N" in said.err
    assert Path("new/metrics.jsonl").read_text() == before
    assert "step 3 of 3" in done(shell("show", "new")).out


def test_data_that_changed(shell: Shell) -> None:
    done(shell("run", from_file(shell), "--out", "new"))
    points = np.load("points.npy")
    np.save("points.npy", points[::-1])
    said = shell("resume", "new", "--steps", "6")
    assert said.code == 2
    assert said.err.startswith(
        "error: new: 'data', 'nu' would not start as when the run began; put the files read for it, and resolved"
    )
    Path("points.npy").unlink()
    said = shell("resume", "new", "--steps", "6")
    assert said.code == 2
    assert "data.path: no such file: points.npy" in said.err
    np.save("points.npy", points)
    done(shell("resume", "new", "--steps", "6"))


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_start_that_changed(shell: Shell, checkpointed: bool) -> None:
    points = np.random.default_rng(0).standard_normal((8, 3))
    np.save("init.npy", points)
    file = shell.write({"measures.nu.init": {"kind": "file", "path": "init.npy", "normalise": True}})
    done(shell("run", file, "--out", "new"))
    if not checkpointed:  # as if it was killed before the first
        shutil.rmtree("new/checkpoints")
    before = Path("new/metrics.jsonl").read_text()
    np.save("init.npy", points[::-1])
    said = shell("resume", "new", "--steps", "6")
    assert (said.code, said.err.split(";")[0]) == (2, "error: new: 'nu' would not start as when the run began")
    assert Path("new/metrics.jsonl").read_text() == before
    np.save("init.npy", points)
    done(shell("resume", "new", "--steps", "6"))


def test_resume_says_what_it_goes_on_from_and_which_rows_are_lost(shell: Shell) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    said = done(shell("resume", "new", "--steps", "4"))
    assert said.err.startswith("new: resuming from step 3\n")
    assert "missing" not in said.err
    Path("new/metrics.jsonl").unlink()
    shutil.copytree("new", "quiet")
    said = done(shell("resume", "new", "--steps", "6"))
    assert said.err.startswith("warning: new/metrics.jsonl: 4 rows before step 4 are missing, and are not measured again\n")
    said = done(shell("resume", "quiet", "--steps", "6", "--quiet"))
    assert said.err == "warning: quiet/metrics.jsonl: 4 rows before step 4 are missing, and are not measured again\n"
    shutil.rmtree("new/checkpoints")
    assert done(shell("resume", "new")).err.startswith("new: no checkpoint yet, resuming from step 0\n")


# --- which reducer was picked ---


def picking(tile: int) -> Callable[[Registry, Request], Local]:
    """A `pick_reducer` of tiles of so many numbers: other tiles, other rounding."""
    return lambda registry, request: Chunked(tile)


def test_resume_takes_the_reducers_that_the_run_took(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shell.write({"steps": 20, "coupling.feature": "gaussian", "measures.gamma.init.size": 200, "metrics": ["tv"]})
    monkeypatch.setattr(Registry, "pick_reducer", picking(64))
    done(shell("run", file, "--out", "whole", "--quiet"))
    done(shell("run", file, "--set", "steps=10", "--out", "new", "--quiet"))
    monkeypatch.setattr(Registry, "pick_reducer", picking(2**20))
    done(shell("run", file, "--out", "other", "--quiet"))
    with pytest.raises(AssertionError):
        same("whole", "other")
    picked = Path("new/reducers.jsonl").read_text()
    assert {json.loads(line)["reducer"]["tile"] for line in picked.splitlines()} == {64}
    Path("new/reducers.jsonl").write_text(picked + '{"request": {"op"')  # torn by a kill
    done(shell("resume", "new", "--steps", "20", "--quiet"))
    same("whole", "new")
    assert Path("new/reducers.jsonl").read_text() == picked == Path("whole/reducers.jsonl").read_text()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("[]", "new/reducers.jsonl: line 1 is damaged; remove it to go on"),
        ('{"request": {}}', "new/reducers.jsonl: line 1 is damaged; remove it to go on"),
        ('{"request": {}, "reducer": {"kind": "fast"}}', "unknown reducer 'fast'"),
        ('{"request": {}, "reducer": {"kind": "fast"}}', "; delete new/reducers.jsonl, and resume picks again"),
    ],
)
def test_reducers_that_cannot_be_read_back(shell: Shell, row: str, why: str) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    Path("new/reducers.jsonl").write_text(f"{row}\n")
    said = shell("resume", "new", "--steps", "6")
    assert (said.code, why in said.err) == (2, True), said


DAMAGES = {"has 100 bytes of": 100, "has 0 bytes of": 0, "its checksum is not the one that was recorded": -1, "is missing": None}


def damage(path: Path, how: int | None) -> None:
    """Cuts a file to so many bytes, flips a bit of its last one (-1), or removes it (None)."""
    content = path.read_bytes()
    if how is None:
        path.unlink()
    else:
        path.write_bytes(content[:how] if how >= 0 else content[:-1] + bytes([content[-1] ^ 4]))


@pytest.mark.parametrize("wrong", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(shell: Shell, wrong: str) -> None:
    file = shell.write({"observers": [{"kind": "checkpoint", "seconds": 0.0}]})
    done(shell("run", file, "--set", "steps=6", "--out", "whole"))
    done(shell("run", file, "--out", "new"))
    (part,) = parts("new")
    damage(part, DAMAGES[wrong])
    said = done(shell("resume", "new", "--steps", "6", "--quiet"))
    assert said.out == ""
    assert re.fullmatch(rf"warning: {part}: {wrong}.*; going on from step 2, the checkpoint before\n", said.err)
    same("whole", "new")


def test_no_checkpoint_that_is_whole(shell: Shell) -> None:
    file = shell.write({"observers": [{"kind": "checkpoint", "seconds": 0.0}]})
    done(shell("run", file, "--set", "steps=6", "--out", "whole"))
    done(shell("run", file, "--out", "new"))
    older, newest = checkpoints("new")
    older.write_text("{}")
    damage(parts("new")[0], 100)
    before = rows("new")
    said = shell("resume", "new", "--steps", "6")
    assert said.code == 2
    first, *others = said.err.splitlines()
    assert first == "error: new/checkpoints: no checkpoint is whole; delete this folder, and resume starts from step 0"
    assert [line.split(": ")[0] for line in others] == [f"  {newest.with_suffix('')}.part-0-of-1.safetensors", f"  {older}"]
    assert rows("new") == before
    shutil.rmtree("new/checkpoints")
    done(shell("resume", "new", "--steps", "6"))
    same("whole", "new")


@pytest.mark.parametrize("steps", [0, 3])
def test_a_run_without_checkpoints_starts_again(shell: Shell, steps: int) -> None:
    file = shell.write({"steps": steps})
    for out in ("whole", "new"):
        done(shell("run", file, "--out", out))
    shutil.rmtree("new/checkpoints")
    Path("new/metrics.jsonl").unlink()
    done(shell("resume", "new"))
    same("whole", "new")


def test_a_run_under_another_seed(shell: Shell) -> None:
    file = from_file(shell)
    done(shell("run", file, "--out", "new"))
    resolved = Path("new/resolved.toml")
    resolved.write_text(resolved.read_text().replace("seed = 0", "seed = 1"))
    said = shell("resume", "new", "--steps", "6")
    assert said.code == 2
    assert "new: 'gamma' would not start as when the run began" in said.err


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_damaged_environment(shell: Shell, content: str | None) -> None:
    done(shell("run", shell.write(), "--out", "new"))
    path = Path("new/environment.json")
    path.unlink() if content is None else path.write_text(content)
    said = shell("resume", "new", "--steps", "6")
    assert said.code == 2
    assert "new/environment.json: missing or damaged" in said.err


# --- Ctrl-C ---


@contextmanager
def pressing(_: Observer, stage: Stage) -> Iterator[See]:
    """An observer's `watch` during which Ctrl-C is pressed, at step 40."""

    def see(system: System, row: Row) -> None:
        if system.step == 40:
            raise KeyboardInterrupt

    yield see


@pytest.mark.parametrize("order", ["sequential", "simultaneous"])
def test_ctrl_c_loses_nothing(shell: Shell, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shell.write({"steps": 60, "order": order})
    done(shell("run", file, "--out", "whole"))

    with monkeypatch.context() as patch:
        patch.setattr(Bar, "watch", pressing)
        said = shell("run", file, "--out", "new")
    assert said.code == 130
    assert said.err.splitlines()[-1] == "stopped; go on with: measureflow resume new"
    assert rows("new")[-1]["step"] == 40
    assert rows("new") == rows("whole")[:41]
    assert clock("new")["step"] in (39, 40)
    done(shell("resume", "new"))
    same("whole", "new")


def test_ctrl_c_before_the_first_step(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record, "build", pressed)
    said = shell("run", shell.write(), "--out", "new")
    assert (said.code, said.out, said.err) == (130, "", "stopped; nothing was recorded yet\n")
    assert not Path("new").exists()


def test_sigint_stops_a_process(shell: Shell) -> None:
    file = shell.write()
    command = [sys.executable, "-m", "measureflow", "run", file, "--set", "steps=100000000", "--out", "new"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        metrics = Path("new/metrics.jsonl")
        deadline = time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 20) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == "stopped; go on with: measureflow resume new"
    assert "Traceback" not in err
    reached, recorded = int(clock("new")["step"]), int(rows("new")[-1]["step"])
    assert recorded - 1 <= reached <= recorded + 1
    done(shell("resume", "new", "--steps", recorded + 10, "--quiet"))
    done(shell("run", file, "--set", f"steps={recorded + 10}", "--out", "whole", "--quiet"))
    same("whole", "new")


# --- there and back ---


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_experiment_survives_the_way_there_and_back(path: Path, registry: Registry, tmp_path: Path) -> None:
    e = from_tables(readable(path), registry)
    tables = config.unstructure(e)
    assert config.structure(tables, Experiment, registry, "tables") == e
    written = tmp_path / "written.toml"
    written.write_text(config.dumps(tables))
    assert load(written, registry) == e


def test_there_are_examples() -> None:
    assert EXAMPLES
