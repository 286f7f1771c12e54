"""Sweeps: what the members are, what is refused before any runs, and that a second call does only what is missing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from small import TABLES, Said, Shell
from test_run import pressing, same

from measureflow.api import MeasureflowError
from measureflow.config import structure as config
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import holding
from measureflow_plugins.observers.progress import Bar
from measureflow_tools.sweeps import grid, launch
from measureflow_tools.sweeps.members import Member, Outcome, run_all
from measureflow_tools.sweeps.naming import LONGEST, ends, joined, labels
from measureflow_tools.sweeps.processes import OUTSIDE, Failure, Job, run_jobs
from measureflow_tools.sweeps.report import standing, table

RATE = "measures.gamma.flows.0.rate"
DOCS = Path(__file__).parents[2] / "docs" / "sweeps"


def written(shell: Shell, sweep: dict[str, Any], **changes: Any) -> Path:
    return shell.write(changes, {**TABLES, "sweep": sweep})


def index(folder: str) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(Path(folder, "index.json").read_text())}


# --- the members ---


def test_members_are_the_product_of_the_grid_and_the_seeds(registry: Registry) -> None:
    own = {"seeds": [3, 7], "grid": {RATE: [1, 5], "order": ["sequential", "simultaneous"]}}
    found = grid.members(own, TABLES, registry, "x")
    assert len(found) == 8
    last = found[-1]
    assert last.name == "rate=5,order=simultaneous,seed=7"
    assert last.tables == {
        **config.change(config.change(TABLES, RATE, 5), "order", "simultaneous"),
        "seed": 7,
    }
    assert last.settings == {RATE: 5, "order": "simultaneous", "seed": 7}


@pytest.mark.parametrize(
    ("own", "seed", "names"),
    [
        ({}, 4, ["seed=4"]),
        ({"seeds": 3}, 4, ["seed=4", "seed=5", "seed=6"]),
        ({"grid": {"step": [0.1]}}, 4, ["step=0.1"]),
        ({"grid": {"step": [0.1]}, "seeds": 2}, 4, ["step=0.1,seed=4", "step=0.1,seed=5"]),
    ],
)
def test_seeds_count_from_the_experiments_own(own: dict[str, Any], seed: int, names: list[str], registry: Registry) -> None:
    found = grid.members(own, {**TABLES, "seed": seed}, registry, "x")
    assert [member.name for member in found] == names
    assert [member.tables["seed"] for member in found] == [seed + i for i in range(len(found))]


def test_paths_need_no_quotes(registry: Registry) -> None:
    quoted = grid.members({"grid": {"data.train": [50, 60]}}, TABLES, registry, "x")
    bare = grid.members({"grid": {"data": {"train": [50, 60]}}}, TABLES, registry, "x")
    assert [member.tables for member in bare] == [member.tables for member in quoted]


def test_a_name_has_the_shortest_ends_that_differ() -> None:
    paths = ["nu.flows.0.rate", "gamma.flows.0.rate", "step", "gamma.init", "gamma.flows.1"]
    assert list(ends(paths).values()) == ["nu.flows.0.rate", "gamma.flows.0.rate", "step", "init", "flows.1"]


def test_words_differ_and_fit_a_folder() -> None:
    assert labels([1e18, 1e-18, -2.0, True, "a b/c", {"kind": "relu"}]) == ["1e18", "1e-18", "-2.0", "true", "a-b-c", "relu"]
    assert labels([{"kind": "wfr", "rate": 1}, {"kind": "WFR", "rate": 2}]) == ["0.wfr", "1.WFR"]
    long = [joined(number, {"x": "y" * 200}) for number in range(2)]
    assert long[0] != long[1]
    assert len(long[0]) <= LONGEST


def ended(name: str, seconds: float, kl: float, **settings: Any) -> Outcome:
    return Outcome(name, settings, 0, name, "done", {"kl": kl}, seconds)


def test_seeds_of_one_setting_have_a_mean() -> None:
    found = [ended(f"{h},{seed}", 1.0, h + seed, step=h, seed=seed) for h in (1, 2) for seed in (0, 2)]
    shown = table([*found, ended("3", 1.0, 9.0, step=3, seed=0)], "x")
    kl = list(shown.columns[-1].cells)
    assert kl == ["1", "3", "2 +- 1.4", "2", "4", "3 +- 1.4", "9"]
    assert list(shown.columns[1].cells)[2] == "mean +- sd"
    alone = [ended(f"trial-{i}", 1.0, i, step=1) for i in range(2)]
    assert len(list(table(alone, "x").columns[-1].cells)) == 2


def test_progress_says_what_is_left_and_the_best_so_far() -> None:
    seen = [ended("a", 100.0, 3.0), ended("b", 300.0, 2.0)]
    assert standing(seen, 10, 2, "kl") == "2 of 10, least kl 2 by b, about 13.3 minutes left"
    assert standing(seen, 2, 1) == "2 of 2"


# --- what is refused ---


@pytest.mark.parametrize(
    ("sweep", "says"),
    [
        ({"seed": 3}, ["sweep.seed: unknown key 'seed'; known: grid, seeds"]),
        ({"seeds": 0, "grid": 3}, ["sweep.seeds: 0: give how many", "sweep.grid: expected a table, got 3"]),
        ({"seeds": [1, 1]}, ["sweep.seeds: [1, 1]: give how many, at least 1, or a list of different seeds"]),
        ({"grid": {"step": 0.1}}, ["sweep.grid.step: expected a list, got 0.1"]),
        ({"grid": {"step": []}}, ["sweep.grid: step has no value"]),
        ({"grid": {"seed": [1]}}, ["sweep.grid: seed: give seeds as sweep.seeds"]),
        (
            {"grid": {"measures.gamma.flows.7.rate": [1], "step.x": [1]}},
            ["sweep.grid.measures.gamma.flows.7.rate: '7' does not lead anywhere: here is a list of 2", "sweep.grid.step.x: 'x'"],
        ),
        ({"grid": {"step": [0.1, -1], RATE: [-2, 1]}}, ["step: step = -1.0: must be", "rate = -2.0", "(in step=0.1,rate=-2 and 1"]),
        ({"grid": {"stepz": [1]}}, ["stepz: unknown key 'stepz'", "did you mean 'step'?"]),
    ],
)
def test_a_bad_sweep_is_refused_before_anything_runs(shell: Shell, sweep: dict[str, Any], says: list[str]) -> None:
    said = shell("sweep", written(shell, sweep), "--out", "s")
    assert said.code == 2
    assert "Traceback" not in said.err
    assert [part for part in says if part not in said.err] == [], said.err
    assert not Path("s").exists()


def test_a_file_without_the_table_is_refused(shell: Shell) -> None:
    said = shell("sweep", shell.write())
    assert (said.code, "sweep: is missing; write a table [sweep]" in said.err) == (2, True)


@pytest.mark.parametrize("command", ["run", "check", "explain", "bench"])
def test_other_commands_name_the_one_that_reads_the_table(shell: Shell, command: str) -> None:
    file = written(shell, {"seeds": 2})
    said = shell(command, file)
    assert said.code == 2
    assert f"sweep: a table of another command: use `measureflow sweep {file}`" in said.err


def test_a_folder_of_other_runs_is_refused(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("measureflow_tools.commands.sweep.run_all", lambda *_: [])
    file = written(shell, {"seeds": 2})
    assert shell("sweep", file, "--out", "s").code == 0
    assert shell("sweep", file, "--out", "s").code == 0
    assert Path("s/sweep.toml").read_text() == file.read_text()
    said = shell("sweep", file, "--out", "s", "--set", "step=0.5")
    assert (said.code, said.err) == (
        2,
        "error: s: holds other runs: its sweep.toml is not what was asked; give --out another folder\n",
    )
    Path("mine").mkdir()
    said = shell("sweep", file, "--out", "mine")
    assert (said.code, "mine: exists already and has no sweep.toml" in said.err) == (2, True)


def test_run_all_refuses_other_tables_and_a_folder_at_work(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text("steps = 4\n")
    with pytest.raises(MeasureflowError, match=r"one\.toml: is there already and says otherwise"):
        run_all([Member("one", {"steps": 3})], tmp_path)
    with holding(tmp_path), pytest.raises(MeasureflowError, match="another process is at work"):
        run_all([], tmp_path)


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b"])
def test_a_member_needs_a_name_that_fits_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match="names a folder"):
        Member(name, {})


# --- processes ---


def shell_of(script: str, *arguments: str) -> tuple[str, ...]:
    return ("sh", "-c", script, *arguments)


def test_jobs_end_with_their_last_line(tmp_path: Path) -> None:
    ended: dict[str, Failure | None] = {}
    scripts = {
        "fine": "echo $OMP_NUM_THREADS $GIVEN",
        "bad": "echo one; echo two >&2; echo; exit 3",
        "mute": "exit 4",
        "killed": "echo said; kill -9 $$",
    }
    jobs = [
        Job(partial(shell_of, script), tmp_path / f"{name}.log", lambda failure, name=name: ended.update({name: failure}))  # type: ignore[misc]
        for name, script in scripts.items()
    ]
    (tmp_path / "mute.log").write_text("of an earlier run\n")
    run_jobs(jobs, 2, {"OMP_NUM_THREADS": "3", "GIVEN": "x"})
    assert ended == {
        "fine": None, "bad": Failure(3, "two"), "mute": Failure(4, "exit code 4"), "killed": Failure(-9, "killed by SIGKILL"),
    }  # fmt: skip
    assert (tmp_path / "fine.log").read_text() == "3 x\n"
    assert (tmp_path / "mute.log").read_text() == "of an earlier run\n"


@pytest.mark.parametrize("together", [1, 3])
def test_so_many_jobs_run_together(tmp_path: Path, together: int) -> None:
    """Each notes how many are at work as it begins."""
    script = f"mkdir {tmp_path}/at-$0; ls -d {tmp_path}/at-* | wc -l; sleep 0.4; rmdir {tmp_path}/at-$0"
    jobs = [Job(partial(shell_of, script, str(i)), tmp_path / f"{i}.log", lambda _: None) for i in range(3)]
    run_jobs(jobs, together, {})
    assert max(int((tmp_path / f"{i}.log").read_text()) for i in range(3)) == together


# --- from end to end ---


def done(said: Said) -> Said:
    assert said.code == 0, said
    return said


def test_a_member_that_fails_does_not_stop_the_rest(shell: Shell, registry: Registry) -> None:
    file = written(shell, {"grid": {"step": [1e18, 0.01]}}, steps=5)
    said = shell("sweep", file, "--out", "s", "--jobs", 2, "--set", "seed=7")
    assert said.code == 1
    assert "step=1e18 failed, see s/step=1e18.log: " in said.err
    assert "1 of 2 not done; the same command with --out s tries them again" in said.err
    bad, good = index("s")["step=1e18"], index("s")["step=0.01"]
    assert (good["status"], good["error"], good["seed"], good["folder"]) == ("done", "", 7, "s/step=0.01")
    assert bad["status"] == "failed"
    assert "became non-finite" in bad["error"]
    assert bad["error"] in Path("s/step=1e18.log").read_text()
    assert good["settings"] == {"step": 0.01}
    assert good["metrics"].keys() == {"kl", "tv"}
    assert good["seconds"] > 0
    assert f"{good['metrics']['kl']:.4g}" in said.out
    assert Path("s/sweep.toml").read_text() == file.read_text() + "# --set seed=7\n"

    before = Path("s/step=0.01/metrics.jsonl").stat().st_mtime_ns
    Path("s/step=0.01.log").unlink()
    again = shell("sweep", file, "--out", "s", "--set", "seed=7")
    assert (again.code, index("s")["step=0.01"]) == (1, good)
    assert Path("s/step=0.01/metrics.jsonl").stat().st_mtime_ns == before
    assert not Path("s/step=0.01.log").exists()

    plain = shell.write({"step": 0.01, "steps": 5, "seed": 7})
    done(shell("run", "s/step=0.01.toml", "--out", "alone"))
    done(shell("run", plain, "--out", "plain"))
    same("alone", "s/step=0.01")
    same("plain", "s/step=0.01")


def test_what_is_missing_is_made_up_for(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member was interrupted and goes on; one has no checkpoint yet; one left a folder that is no run and starts anew."""
    file = written(shell, {"seeds": 3}, steps=60)
    Path("s").mkdir()
    Path("s/sweep.toml").write_text(file.read_text())
    Path("s/seed=0.toml").write_bytes(tomli_w.dumps({**TABLES, "steps": 60, "seed": 0}).encode())
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "watch", pressing)
        assert shell("run", "s/seed=0.toml", "--out", "s/seed=0").code == 130
    Path("s/seed=1").mkdir()
    Path("s/seed=1/resolved.toml").write_text("half written")
    Path("s/seed=2.toml").write_bytes(tomli_w.dumps({**TABLES, "steps": 60, "seed": 2}).encode())
    assert shell("run", "s/seed=2.toml", "--out", "s/seed=2").code == 0
    shutil.rmtree("s/seed=2/checkpoints")
    done(shell("sweep", file, "--out", "s"))
    assert [each["status"] for each in index("s").values()] == ["done", "done", "done"]
    for seed in (0, 2):
        environment = json.loads(Path(f"s/seed={seed}/environment.json").read_text())
        assert environment["argv"] == sys.argv  # the run that was begun here, and no new one
    for seed in range(3):
        done(shell("run", f"s/seed={seed}.toml", "--out", f"whole-{seed}", "--quiet"))
        same(f"whole-{seed}", f"s/seed={seed}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_stop_the_members(shell: Shell, number: signal.Signals) -> None:
    file = written(shell, {"seeds": 2}, steps=100_000_000)
    command = [sys.executable, "-m", "measureflow", "sweep", file, "--out", "s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        metrics, deadline = Path("s/seed=0/metrics.jsonl"), time.monotonic() + 60
        while not (metrics.exists() and metrics.read_text().count("\n") > 20) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped; the same command with --out s goes on"
    assert "Traceback" not in err
    assert list(Path("s/seed=0/checkpoints").iterdir())
    assert "stopped; go on with: measureflow resume" in Path("s/seed=0.log").read_text()
    assert [each["status"] for each in index("s").values()] == ["missing", "missing"]
    assert not Path("s/seed=1").exists()
    assert str(Path("s/seed=0").absolute()) not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


def waited(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_members_run_no_code_of_the_working_folder(shell: Shell) -> None:
    Path("tomllib.py").write_text('open("ran", "w").close()\nraise ImportError\n')
    done(shell("sweep", written(shell, {}), "--out", "s"))
    assert not Path("ran").exists()


def test_members_stop_when_the_sweep_is_killed_and_the_next_one_goes_on(shell: Shell) -> None:
    """The second call waits until the member of the first has written its checkpoint."""
    steps = 300
    file = written(shell, {}, steps=steps)
    with subprocess.Popen([sys.executable, "-m", "measureflow", "sweep", file, "--out", "s"], stderr=subprocess.DEVNULL) as process:
        waited(lambda: Path("s/seed=0/metrics.jsonl").exists())
        process.kill()
    done(shell("sweep", file, "--out", "s"))
    log = Path("s/seed=0.log").read_text()
    assert "stopped; go on with: measureflow resume s/seed=0" in log
    rows = [json.loads(line) for line in Path("s/seed=0/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(steps + 1))


def test_a_member_waits_for_who_is_at_work_in_its_folder(shell: Shell, monkeypatch: pytest.MonkeyPatch, registry: Registry) -> None:
    (member,) = grid.members({}, TABLES, registry, "x")
    Path("s").mkdir()
    Path("s/seed=0.toml").write_bytes(config.dumps(member.tables).encode())
    assert shell("run", "s/seed=0.toml", "--out", "s/seed=0").code == 0
    with ExitStack() as stack:
        stack.enter_context(holding(Path("s/seed=0")))
        shutil.rmtree("s/seed=0/checkpoints")
        monkeypatch.setattr("measureflow_tools.sweeps.processes.PAUSE", 0.0)
        monkeypatch.setattr("time.sleep", lambda _: stack.close())
        (outcome,) = run_all([member], Path("s"))
    assert (outcome.status, outcome.error) == ("done", "")


def test_a_failure_that_is_not_the_experiments_is_no_failed_member(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(script: str) -> None:
        monkeypatch.setattr("measureflow_tools.sweeps.members._command", lambda *_: shell_of(script))

    for script, status in {
        "kill -9 $$": "missing",
        f"exit {OUTSIDE}": "missing",
        "exit 130": "missing",
        "exit 2": "failed",
    }.items():
        ends(script)
        (outcome,) = run_all([Member("one", TABLES)], Path("s"))
        assert (script, outcome.status) == (script, status)
        assert outcome.error
    said = shell("sweep", written(shell, {}), "--out", "t")
    assert (said.code, "seed=0 failed, see t/seed=0.log: exit code 2" in said.err) == (1, True)


def test_the_launch_tells_whose_fault_an_end_was(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell("run", shell.write(), "--out", "new").code == 0
    monkeypatch.setattr(launch, "_watch", lambda: None)

    def code(*arguments: str) -> object:
        monkeypatch.setattr("sys.argv", ["measureflow", *arguments])
        with pytest.raises(SystemExit) as ended:
            launch.launch()
        return ended.value.code

    with holding(Path("new")):
        assert code("resume", "new", "--steps", "5") == OUTSIDE
    assert code("resume", "new", "--steps", "2") == 2
    assert code("resume", "new", "--steps", "5") == 0


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.toml")), ids=lambda path: path.name)
def test_the_files_in_docs_are_what_their_commands_read(path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = config.read(path)
    (command,) = {"sweep", "search"} & tables.keys()
    assert path.read_text().startswith("# ")
    monkeypatch.setattr("measureflow_tools.commands.sweep.run_all", lambda *_: [])
    monkeypatch.setattr("measureflow_tools.commands.search.run_all", interrupted)
    said = shell(command, path, "--out", "s", *(("--metric", "kl") if command == "search" else ()))
    assert said.code == (130 if command == "search" else 0), said


def test_threads_are_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("measureflow_tools.sweeps.members.run_jobs", lambda *given: asked.append(given[1:]))
    monkeypatch.setattr("torch.get_num_threads", lambda: 6)
    for jobs in (1, 2, 50):
        with pytest.raises(KeyError):  # nothing ran, so that there is no outcome
            run_all([Member(f"m{i}", {"steps": 1}) for i in range(8)], tmp_path, jobs)
    assert asked == [(1, {"OMP_NUM_THREADS": "6"}), (2, {"OMP_NUM_THREADS": "3"}), (8, {"OMP_NUM_THREADS": "1"})]
    assert os.environ["OMP_NUM_THREADS"] == "1"
