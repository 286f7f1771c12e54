"""What `run` would refuse at its start is refused by `check`, by reports and by commands that take sizes, before it costs."""

from pathlib import Path
from typing import Any

import pytest
from small import Shell
from test_run import done

from measureflow.config import memory as footprint
from measureflow.config import rehearsal
from measureflow.plugins.registry import Registry
from measureflow_tools.analysis.runs import read, rebuilt

ODD = {"data.train": 25, "measures.nu.init.copies": 1}
SPHERE = {"kind": "file", "path": "x.csv", "domain": "sphere"}
PLAIN = {"data": SPHERE, "metrics": ["tv"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (ODD, "'antithetic' pairs atom i with atom i + N/2"),
        ({"order": {"kind": "minibatch", "batch": 51}}, "order.batch: 51 is more than the 50 atoms"),
        ({**PLAIN, "measures.gamma.init": {"kind": "file", "path": "two.csv"}}, "this measure lives in d = 3"),
        ({**PLAIN, "measures.gamma.init": {"kind": "file", "path": "inf.csv"}}, "row 0 is not finite"),
        ({**PLAIN, "data": {**SPHERE, "test": "two.csv"}}, "points have d = 2"),
        ({**PLAIN, "data": {**SPHERE, "test": "inf.csv"}}, "data.test: inf.csv: row 0 is not finite"),
        ({**PLAIN, "data": {**SPHERE, "path": "none.csv"}}, "holds no points"),
    ],
)
def test_check_says_what_run_says(shell: Shell, changes: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shell.folder)
    for name, text in {"x": "1,0,0\n0,1,0\n", "two": "1,0\n0,1\n", "inf": "inf,0,0\n", "none": ""}.items():
        Path(f"{name}.csv").write_text(text)
    file = shell.write(changes)
    checked, ran = shell("check", file), shell("run", file, "--out", "r", "--quiet")
    assert (checked.code, checked.out) == (2, "")
    assert words in checked.err
    assert ran.err.startswith(checked.err.rstrip("\n"))  # a run that began says besides how to go on with it


def test_check_tries_a_small_experiment(shell: Shell) -> None:
    assert done(shell("check", shell.write())).out.endswith("# built, and its first step tried\n")


def test_check_leaves_a_step_that_takes_long(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "PAIRS", 10)
    assert done(shell("check", shell.write())).out.endswith("# built, and its first step tried as far as it is cheap\n")


def test_check_does_not_build_what_is_large(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "MODEST", 100)
    assert "# only the tables were checked: the experiment needs about" in done(shell("check", shell.write(ODD))).out


def test_a_report_does_not_build_what_is_large(shell: Shell, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    done(shell("run", shell.write({"observers": ["snapshots"]}), "--out", "r", "--quiet"))
    resolved = Path("r/resolved.toml")
    resolved.write_text(resolved.read_text().replace("train = 50", "train = 100000000"))
    assert "100000000" in resolved.read_text()
    monkeypatch.setattr("measureflow.config.build.device_of", lambda e: pytest.fail("it was built"))
    with pytest.raises(Exception, match="r: is not built again: the experiment needs about"):
        rebuilt(read(Path("r"), registry), registry)
    done(shell("report", "r"))


@pytest.mark.parametrize("device", ["zzz", "hpu", "cuda:99", "privateuseone"])
def test_tune_refuses_a_device_that_is_not_there(shell: Shell, device: str) -> None:
    said = shell("tune", "--device", device, "--out", "t.json")
    assert (said.code, said.err.count("\n"), Path("t.json").exists()) == (2, 1, False)
    assert said.err.startswith(f"error: device: {device!r}")


def test_bench_refuses_a_size_beyond_the_memory(shell: Shell) -> None:
    said = shell("bench", shell.write(), "--particles", "1e12")
    assert said.code == 2
    assert "error: size of nu: 1,000,000,000,000 atoms need about" in said.err


@pytest.mark.parametrize("out", [".", ""])
def test_a_report_is_no_folder(shell: Shell, out: str) -> None:
    done(shell("run", shell.write(), "--out", "r", "--quiet"))
    said = shell("report", "r", "--out", out)
    assert (said.code, said.err.startswith("error: .: cannot be written (a folder has that name")) == (2, True)
