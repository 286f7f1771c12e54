"""Shared by all tests: the installed plugins, the folder of data beside the project, quiet threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small import Shell

from measureflow.plugins import Registry, load

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: the reference data lie beside the project, not in it")
    return SHARED


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """The command line in an empty folder, on one thread: its experiments are too small to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    yield Shell(tmp_path, capsys)
    torch.set_num_threads(threads)
