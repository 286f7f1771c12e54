"""What happens seldom: odd file systems, signals at bad moments, packages and programs that are absent."""

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import TABLES

from measureflow.config.build import build
from measureflow.config.structure import change
from measureflow.config.validate import from_tables
from measureflow.core.domain import Space
from measureflow.core.measure import Need, Particles
from measureflow.dynamics.divergence import _sound
from measureflow.errors import ConfigError, LostError, MeasureflowError, WriteError
from measureflow.observe.source import World
from measureflow.parallel import torchrun as processes
from measureflow.parallel.group import Alone
from measureflow.plugins.registry import Registry
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import auto
from measureflow.run import atomic as files
from measureflow.run import environment
from measureflow.run.checkpoint.safetensors_file import read_tensors, save_tensors
from measureflow.run.interrupt import deferred_interrupt
from measureflow.run.jsonl import read_rows
from measureflow.testing import check, examples, measure, normals
from measureflow.testing.problems.threads import Thread, together
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.features.relu import Relu

Raises = Callable[..., Any]


def raising(number: int) -> Raises:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# Files


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_whose_folders_cannot_be_waited_for_will_do(number: int, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fsync", raising(number))
    files.sync_folder(tmp_path)


def test_a_disk_that_fails_under_a_folder_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fsync", raising(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_folder(tmp_path)
    with pytest.raises(WriteError, match=r"new: cannot be written \(Input/output error\)"):
        files.make(tmp_path / "new")


def test_a_folder_that_another_process_made_first_is_left_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def arrange() -> None:
        with files.arranging(run) as temporary:
            (temporary / "a").write_text("mine")
            run.mkdir()
            (run / "b").write_text("theirs")

    with pytest.raises(MeasureflowError, match="exists"):
        arrange()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert (run / "b").read_text() == "theirs"


def test_a_folder_that_cannot_be_named_says_why(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(Path, "rename", raising(errno.EACCES))

    def arrange() -> None:
        with files.arranging(tmp_path / "run"):
            pass

    with pytest.raises(MeasureflowError, match=r"run: cannot be created \(Permission denied\)"):
        arrange()
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_read_are_refused_and_none_are_none(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.jsonl", lambda row: True) == []
    with pytest.raises(MeasureflowError, match="cannot be read"):
        read_rows(tmp_path, lambda row: True)


# Signals


def test_the_first_signal_waits_and_the_second_interrupts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt() as came:
        assert not came()
        signal.raise_signal(signal.SIGTERM)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_thread_holds_no_signal_back() -> None:
    seen: list[bool] = []

    def work() -> None:
        with deferred_interrupt() as came:
            seen.append(came())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


# What is absent


def test_a_package_that_is_absent_has_no_version() -> None:
    assert environment._version("no-such-distribution") is None
    assert environment._version("torch") == torch.__version__


def test_sources_without_git_have_no_revision(tmp_path: Path, monkeypatch: Any) -> None:
    here = tmp_path / "engine" / "measureflow" / "environment.py"
    monkeypatch.setattr(environment, "__file__", str(here))
    assert environment._git() is None  # no checkout
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert environment._git() is None  # git refuses it
    answer = subprocess.CompletedProcess([], 0, "abc-dirty\n", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    assert environment._git() == "abc-dirty"
    monkeypatch.setattr(subprocess, "run", raising(errno.ENOENT))
    assert environment._git() is None  # no git


# Teams


def test_alone_everything_is_ones_own() -> None:
    one = torch.ones(2)
    assert Alone().sum(one) is one
    assert Alone().sent(one, 0) is one
    assert Alone().did(lambda: "done") == ["done"]
    assert Alone().led(lambda: "done") == "done"


def test_a_threads_tensor_must_fit_the_one_that_is_sent() -> None:
    """As between processes, where a broadcast into another shape is garbage or an error."""

    def work(team: Any) -> torch.Tensor:
        assert isinstance(team, Thread)
        return team.sent(torch.ones(2 if team.leads else 3), 0)

    with pytest.raises(ValueError, match=r"\(3,\) torch.float32 for \(2,\) torch.float32"):
        together(2, work)


def test_a_measure_of_fewer_atoms_than_processes_cannot_be_shared(registry: Registry) -> None:
    built = build(from_tables(TABLES, registry), registry)

    def work(team: Any) -> None:
        built.dealt(team, ["gamma"])

    with pytest.raises(MeasureflowError, match="'gamma' has 8 atoms for 9 processes; leave it out"):
        together(9, work)


def test_who_speaks_where_nobody_can_be_asked(monkeypatch: Any) -> None:
    assert processes.speaks()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert processes.speaks()


def test_what_torch_says_of_a_lost_process_is_one_message(monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Connection closed by peer\n  at frame 7")

    monkeypatch.setattr("torch.distributed.all_reduce", fail)
    with pytest.raises(LostError, match=r"another process of this run ended, so .* \(Connection closed by peer\)$"):
        processes.Processes(0, 2).sum(torch.ones(1))


# Refusals


def test_a_swapped_feature_has_no_parameters() -> None:
    phi = Relu()
    assert phi.T.T is phi
    assert phi.T.orders == phi.orders
    with pytest.raises(TypeError, match="ask the feature it came from"):
        phi.T.parameter_space(Space(Sphere(), 3))


def test_a_path_in_a_config_has_its_limits() -> None:
    for path, said in (("a..b", "joined by single dots"), (".".join("a" * 200), "the path has 200 keys")):
        with pytest.raises(MeasureflowError, match=said):
            change({}, path, 1)


def test_auto_gives_what_the_picked_reducer_gives() -> None:
    asked = []
    space, own = Space(Sphere(), 3), Chunked()
    phi, at, source, vectors = Relu(power=3), measure(space, 5).points, measure(space, 4, signed=True), normals(4, 3)
    reducer = auto(lambda request: asked.append((request.op, request.n_out, request.n_in, request.width)) or own)
    field, along = reducer.field(phi, at, source, Need.BOTH), reducer.directional(phi, at, source, vectors, Need.BOTH)
    assert torch.equal(field.grad, own.field(phi, at, source, Need.BOTH).grad)
    assert torch.equal(along.value, own.directional(phi, at, source, vectors, Need.BOTH).value)
    assert torch.equal(reducer.vector_sum(phi, at, source, vectors), own.vector_sum(phi, at, source, vectors))
    assert asked == [("sums", 5, 4, 3), ("directed", 5, 4, 3), ("vectors", 5, 4, 3)]


def test_a_measure_that_nobody_has_cannot_be_shared(registry: Registry) -> None:
    with pytest.raises(ConfigError, match="sharded: unknown measure 'mu'"):
        from_tables({**TABLES, "sharded": ["mu"]}, registry)


def test_a_start_from_data_that_are_not_there_is_refused() -> None:
    with pytest.raises(MeasureflowError, match="start it from 'uniform' or 'file'"):
        _ = World(Space(Sphere(), 3), {}).data


def test_a_measure_of_no_atoms_is_sound() -> None:
    assert bool(_sound(Particles.uniform(torch.zeros(0, 2), Euclidean()), 1.0))


def test_a_file_of_tensors_that_ends_too_soon_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, {"x": torch.arange(8.0)}, {})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="do not fill the file"):
        read_tensors(path)


def test_a_folder_without_examples_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \.toml file in this folder"):
        examples.read(tmp_path)


def test_a_report_is_a_table(registry: Registry) -> None:
    report = check(Relu(), Space(Sphere(), 3), registry=registry)
    lines = str(report).splitlines()
    assert lines[0] == report.component
    assert len(lines) == 1 + len(report.rows)
    assert all(row.promise in line and row.state in line for row, line in zip(report.rows, lines[1:], strict=True))


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As in a script's background job, which Ctrl-C at its terminal is not meant for."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt() as asked:
            signal.raise_signal(signal.SIGINT)
            assert not asked()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
