"""Links, FIFOs and devices: nothing is written or removed outside the folder that a command names, and nothing hangs."""

import ast
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small import Shell
from test_run import done

from measureflow.errors import MeasureflowError, WriteError
from measureflow.opening import appending, check_own, read_bytes, reading
from measureflow.run.atomic import check_links, replacing, write

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("engine", "plugins") for path in (ROOT / folder).rglob("*.py"))
MINE = "# mine\n"
OBSERVERS = [{"kind": "checkpoint", "seconds": 0.0}, "snapshots", "curves"]
SNAPSHOT = "snapshots/step-000000003.safetensors"
WRITTEN = {
    "resume": ("resolved.toml", "metrics.jsonl", "events.jsonl", SNAPSHOT, "figures/curves.png", "checkpoints/step-000000005.json"),
    "report": ("report.html",),
    "figure": ("figures/curves.png", "figures/curves.pdf"),
    "film": ("figures/neurons.gif",),
}


def recorded(shell: Shell) -> Path:
    """A run folder with one of each file, and a file of the user beside it."""
    done(shell("run", shell.write({"observers": OBSERVERS}), "--out", "run", "--quiet"))
    Path("run/events.jsonl").write_text('{"step": 0, "what": "warning", "why": "none"}\n')
    Path("mine").write_text(MINE)
    return Path("run")


def command(shell: Shell, name: str) -> int:
    more = {"resume": ("--steps", "5"), "film": ("--what", "neurons", "--out", "run/figures/neurons.gif")}
    return shell(name, "run", *more.get(name, ())).code


@pytest.mark.parametrize("by", WRITTEN)
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_lies_under_the_name_of_a_temporary_is_not_opened(shell: Shell, by: str, kind: str) -> None:
    run = recorded(shell)
    names = [name for name in WRITTEN[by] if kind == "fifo" or by != "resume" or "/" in name]  # resume refuses links beside them
    for path in [(run / name).with_name(f".{Path(name).name}.part") for name in names]:
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(Path("mine").absolute()) if kind == "link" else os.mkfifo(path)
    assert command(shell, by) == 0
    assert Path("mine").read_text() == MINE
    assert all((run / name).is_file() for name in names)
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize(("by", "name"), [("resume", SNAPSHOT), ("resume", "events.jsonl"), ("report", "report.html")])
def test_a_link_in_place_of_a_file_is_not_written_through(shell: Shell, by: str, name: str) -> None:
    run = recorded(shell)
    for target in ("mine", "none"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(Path(target).absolute())
        assert command(shell, by) == 2
    assert Path("mine").read_text() == MINE
    assert not Path("none").exists()


@pytest.mark.parametrize(("by", "name"), [("resume", "checkpoints"), ("resume", "snapshots"), ("figure", "figures")])
def test_a_linked_folder_in_a_run_is_refused(shell: Shell, name: str, by: str) -> None:
    other = Path(shutil.copytree(recorded(shell), "other"))
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    shutil.rmtree(f"run/{name}")
    Path("run", name).symlink_to(Path("other", name).absolute())
    said = shell(by, "run", *(("--steps", "5") if by == "resume" else ()))
    assert said.code == 2
    assert said.err.startswith(f"error: run/{name}: is a link; ")
    assert {path: path.read_bytes() for path in other.rglob("*") if path.is_file()} == before


def test_an_entry_that_is_no_link_is_none_of_its_business(tmp_path: Path) -> None:
    write(tmp_path / "file", b"")
    check_links(tmp_path)
    (tmp_path / "link").symlink_to("file")
    with pytest.raises(MeasureflowError, match="link: is a link"):
        check_links(tmp_path)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.mark.parametrize("path", ["fifo", "/dev/zero", "to-zero"])
def test_only_regular_files_are_read(fifo: Path, path: str) -> None:
    (fifo.parent / "to-zero").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="it is no regular file"):
        reading(fifo.parent / path)


def test_links_to_files_are_read(tmp_path: Path) -> None:
    write(tmp_path / "file", b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link") == b"content"


@pytest.mark.parametrize(("name", "kind"), [("fifo", "FIFO, device or socket"), ("link", "link"), ("folder", "folder")])
def test_only_regular_files_are_replaced_and_added_to(fifo: Path, name: str, kind: str) -> None:
    folder = fifo.parent
    (folder / "link").symlink_to("file")
    (folder / "folder").mkdir()
    with pytest.raises(WriteError, match=f"{name}: cannot be written .a {kind} has that name"):
        write(folder / name, b"")
    with pytest.raises(OSError, match=f"a {kind} has that name"):
        appending(folder / name)
    assert sorted(path.name for path in folder.iterdir()) == ["fifo", "folder", "link"]


def test_a_link_put_there_between_the_look_and_the_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("file")
    monkeypatch.setattr("measureflow.opening.check_own", lambda path: None)
    with pytest.raises(OSError, match="symbolic links"):
        appending(tmp_path / "link")


def test_the_temporary_is_made_with_the_rights_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write(tmp_path / "written", b"")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    write(tmp_path / "file", b"old")

    def failing() -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"new")
            raise OSError("enough")

    with pytest.raises(WriteError, match="enough"):
        failing()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    check_own(tmp_path / "file")


# FIFOs in place of each file that a command reads


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.safetensors"])
@pytest.mark.parametrize("device", [None, "/dev/zero"])
def test_data_from_a_fifo_or_a_device(shell: Shell, name: str, device: str | None) -> None:
    Path(name).symlink_to(device) if device else os.mkfifo(name)
    tables = {"data": {"kind": "file", "path": name, "domain": "sphere"}, "metrics": [{"kind": "tv"}]}
    said = shell("check", shell.write(tables))
    assert said.code == 2
    assert f"{name} cannot be read as {Path(name).suffix}: it is no regular file" in said.err


@pytest.mark.parametrize("by", ["check", "run", "sweep", "search"])
def test_a_config_from_a_fifo(shell: Shell, by: str) -> None:
    os.mkfifo("x.toml")
    said = shell(by, "x.toml", *(("--metric", "tv", "--trials", "1") if by == "search" else ()))
    assert said.code == 2
    assert "x.toml" in said.err


READ = {
    "show": ("resolved.toml", "metrics.jsonl", "events.jsonl"),
    "report": ("environment.json",),
    "resume": ("environment.json", "metrics.jsonl", "events.jsonl"),
    "film": ("snapshots/still.safetensors", SNAPSHOT),
}
CHECKPOINT = ("checkpoints/step-000000003.json", "checkpoints/step-000000003.part-0-of-1.safetensors")


@pytest.mark.parametrize("by", READ)
def test_a_fifo_in_a_run_folder(shell: Shell, by: str) -> None:
    run = recorded(shell)
    for name in READ[by]:
        (run / name).rename("aside")
        os.mkfifo(run / name)
        assert command(shell, by) == 2, name
        Path("aside").replace(run / name)


@pytest.mark.parametrize("name", CHECKPOINT)
def test_a_fifo_in_a_checkpoint(shell: Shell, name: str) -> None:
    """It is passed over for the checkpoint before."""
    run = recorded(shell)
    (run / name).unlink()
    os.mkfifo(run / name)
    assert command(shell, "resume") == 0


# All files are opened in one place


OPENS = {"open", "read_text", "read_bytes", "load_file", "safe_open"}
TOOLS = "plugins/measureflow_tools"
ELSEWHERE = {
    "engine/measureflow/opening.py:os.open": "the place",
    "engine/measureflow/run/atomic.py:os.open": "folders",
    "engine/measureflow/run/atomic.py:path.open": "just made by replacing",
    "engine/measureflow/run/checkpoint/safetensors_file.py:temporary.open": "just made by replacing",
    f"{TOOLS}/report/bibliography.py:files('measureflow_tools.report').joinpath('references.bib').read_text": "our own",
    "plugins/measureflow_plugins/reducers/autotune/planner.py:info.read_text": "/proc/cpuinfo",
    "plugins/measureflow_plugins/sources/_arrays.py:archive.open": "a member of an archive",
    "plugins/measureflow_plugins/sources/_arrays.py:load_file": "after check_regular",
    "plugins/measureflow_tools/analysis/snapshots.py:safe_open": "after check_regular",
}


def openings() -> Iterator[str]:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in OPENS:
                yield f"{path.relative_to(ROOT)}:{ast.unparse(node.func)}"


def test_files_are_opened_by_one_module() -> None:
    by_name = {"read_text", "read_bytes"}  # of the module opening
    assert {name for name in openings() if name.rpartition(":")[2] not in by_name} - ELSEWHERE.keys() == set()
