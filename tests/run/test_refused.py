"""What the system refuses is told in one line, with exit code 2 and without a traceback."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from small import TABLES, Shell
from test_run import done, same

from measureflow.run import atomic as files

SHORT = {**TABLES, "steps": 2, "metrics": ["tv"], "observers": [{"kind": "checkpoint", "seconds": 0.0}, {"kind": "snapshots"}]}
LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["resume"], ["report"], ["film"], ["figure"], ["run", "small.toml", "--out"]],
    ids=lambda given: given[0],
)
def test_a_name_that_no_file_can_have(shell: Shell, arguments: list[str]) -> None:
    shell.write(tables=SHORT)
    said = shell(*arguments, LONG)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1), said
    assert said.err.startswith(f"error: {LONG}")
    assert said.err.endswith("cannot be reached (File name too long)\n")


@pytest.mark.parametrize("command", ["show", "resume", "report"])
def test_a_folder_that_may_not_be_entered(shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    said = shell(command, "private/run")
    assert (said.code, said.err) == (2, "error: private/run/resolved.toml: cannot be reached (Permission denied)\n")


def test_a_checkpoint_that_cannot_be_removed(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shell.write(tables={**SHORT, "steps": 4})
    done(shell("run", file, "--out", "whole", "--quiet"))
    unlink = Path.unlink

    def busy(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step-"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", busy)
        said = shell("run", file, "--out", "new", "--quiet")
    assert (said.code, said.err.count("\n")) == (2, 1), said
    assert said.err.startswith("error: new/checkpoints/step-000000000.json: cannot be removed (Device or resource busy); ")
    done(shell("resume", "new", "--quiet"))
    same("whole", "new")


def test_a_run_folder_that_may_not_outlast_a_power_cut(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(folder: Path) -> None:
        if folder == Path():
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder))

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync_folder", failing)
        said = shell("run", shell.write(tables=SHORT), "--out", "new", "--quiet")
    assert (said.code, said.err) == (
        2,
        "error: new: is there, but may not outlast a power cut (Input/output error); `measureflow resume new` goes on in it\n",
    )
    done(shell("resume", "new"))


def test_an_ffmpeg_that_stops(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")

    def stopping(*_: object, **__: object) -> Iterator[None]:
        yield None
        yield None
        raise OSError("Broken pipe\n\nFFMPEG COMMAND:\n" + "x\n" * 10)

    done(shell("run", shell.write(tables=SHORT), "--out", "new", "--quiet"))
    monkeypatch.setattr(ffmpeg, "write_frames", stopping)
    said = shell("film", "new", "--out", "film.mp4")
    assert said.code == 2
    assert said.err.splitlines()[-1] == "error: film.mp4: cannot be written (ffmpeg stopped; is the disk full?)"
    assert not Path("film.mp4").exists()
