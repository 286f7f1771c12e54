"""A disk that is full or cannot be written ends a run with one message, and the run goes on exactly when that is mended."""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from killed import MEASUREFLOW
from small import TABLES, Shell
from test_crash import FEW, same_snapshots
from test_run import done, rows, same

from measureflow.config.build import build
from measureflow.config.validate import from_tables
from measureflow.core.measure import System
from measureflow.observe.observer import Every, Observer, See, Stage, Watch, observed
from measureflow.plugins.registry import Registry
from measureflow.run.runner import read_metrics
from measureflow_plugins.observers.progress import Bar

PAGE = 4096
WATCHED = {**FEW, "observers": [*FEW["observers"], "curves"]}


@pytest.fixture
def disk(shell: Shell) -> Iterator[Path]:
    """A file system of 1 MiB in memory, at `disk` in the test's folder; skips where this process may not mount one."""
    folder = shell.folder / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "measureflow-test", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"a small file system cannot be mounted here ({error})")
    yield Path("disk")
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


@pytest.mark.parametrize("free", [0, 2, 4, 6, 8, 10, 12, 17])
def test_a_full_disk(shell: Shell, disk: Path, free: int) -> None:
    """`free` pages are left: the disk is full at the folder, the first rows, a checkpoint, a snapshot or the figure."""
    file = shell.write(tables=WATCHED)
    done(shell("run", file, "--out", "whole"))
    (disk / "filler").write_bytes(bytes(2**20 - free * PAGE))
    said = shell("run", file, "--out", "disk/cut", "--quiet")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: disk/cut")
    assert said.err.count("\n") == 1
    assert "cannot be written (No space left on device)" in said.err
    assert not list(disk.rglob(".*"))
    (disk / "filler").unlink()
    if "all else of the run is recorded" in said.err:
        assert "figures/curves.png: cannot be written" in said.err
    elif Path("disk/cut").exists():
        assert said.err.endswith("; mend that, and `measureflow resume disk/cut` goes on\n")
        done(shell("resume", "disk/cut"))
    else:
        done(shell("run", file, "--out", "disk/cut"))
    same("whole", "disk/cut")
    same_snapshots("whole", "disk/cut")


def test_a_log_that_may_not_grow(shell: Shell) -> None:
    """A limit on the size of files cuts a row of metrics.jsonl in two; resume drops that half."""
    file = shell.write({"steps": 80})
    done(shell("run", file, "--out", "whole"))
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # its files would not fit
    said = subprocess.run(
        [*MEASUREFLOW, "run", str(file), "--out", "cut", "--quiet"], capture_output=True, text=True, timeout=60, env=bare,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "error: cut/metrics.jsonl: cannot be written (File too large); mend that, and `measureflow resume cut` goes on\n"
    )
    assert Path("cut/metrics.jsonl").stat().st_size == 3000
    assert 0 < read_metrics(Path("cut"))[-1]["step"] < 80
    done(shell("resume", "cut"))
    same("whole", "cut")


def test_a_folder_that_cannot_be_written(shell: Shell, disk: Path) -> None:
    file = shell.write(tables=WATCHED)
    done(shell("run", file, "--out", "disk/cut"))
    before = rows("disk/cut")

    def mounted(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk.absolute())], check=True, timeout=10)

    mounted("ro")
    said = shell("run", file, "--out", "disk/new")
    assert (said.code, said.out, said.err) == (2, "", "error: disk/new: cannot be created (Read-only file system)\n")
    said = shell("resume", "disk/cut", "--steps", "5")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: disk/cut/resolved.toml: cannot be written (Read-only file system)\n"
    assert "step 2 of 2" in done(shell("show", "disk/cut")).out
    mounted("rw")
    assert rows("disk/cut") == before
    done(shell("resume", "disk/cut", "--steps", "5"))
    done(shell("run", file, "--set", "steps=5", "--out", "whole"))
    same("whole", "disk/cut")


def test_a_film_that_ffmpeg_could_not_finish(shell: Shell, disk: Path) -> None:
    """ffmpeg ends without a word where the disk is full, and its file cannot be played."""
    pytest.importorskip("imageio_ffmpeg")
    done(shell("run", shell.write(tables=FEW), "--out", "r"))
    done(shell("film", "r", "--out", "film.mp4"))
    (disk / "filler").write_bytes(bytes(2**20 - PAGE))
    said = shell("film", "r", "--out", "disk/film.mp4")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1] == "error: disk/film.mp4: cannot be written (ffmpeg wrote 0 of 3 images)"
    assert [path.name for path in disk.iterdir()] == ["filler"]


# --- any observer ---


def failing(when: str) -> Callable[[Observer, Stage], object]:
    """An observer's `watch` that finds the disk full when it is opened, at step 2, or when it is closed."""

    def full(now: str) -> None:
        if now == when:
            raise OSError(28, "No space left on device", "events.log")

    @contextmanager
    def watch(_: Observer, stage: Stage) -> Iterator[See]:
        full("open")
        yield lambda system, row: full(f"step {system.step}")
        full("close")

    return watch


@pytest.mark.parametrize("when", ["open", "step 0", "step 2", "close"])
def test_an_observer_that_cannot_write(shell: Shell, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shell.write()
    done(shell("run", file, "--out", "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(Bar, "watch", failing(when))
        said = shell("run", file, "--out", "cut")
    then = "all else of the run is recorded" if when == "close" else "mend that, and `measureflow resume cut` goes on"
    assert said.code == 2
    assert said.err == f"error: observer 'progress': [Errno 28] No space left on device: 'events.log'; {then}\n"
    if when != "close":
        done(shell("resume", "cut"))
    same("whole", "cut")


def test_the_errors_of_others_are_not_laid_to_an_observer(registry: Registry) -> None:
    def systems() -> Iterator[System]:
        yield System({})
        raise FileNotFoundError("the data's")

    view = build(from_tables(TABLES, registry), registry).view
    with pytest.raises(FileNotFoundError, match="the data's"):
        list(observed(systems(), Stage("x", Path(), 1, 0, (), True), view, [], [Watch(Bar(), Every())]))
