"""Shared by all tests: the installed plugins, the folder of data beside the project, quiet threads."""

import os
from pathlib import Path

import pytest
import torch
from small import Shell

from measureflow.plugins.registry import Registry, load

# Small problems on one thread each: two workers share two cores, and OpenMP's threads would wait for each other.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="Let the tests of test_gpu.py, and no others, see a GPU.")


def pytest_configure(config: pytest.Config) -> None:
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the suite tests the CPU: on a machine with a GPU `auto` would take that


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load()


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("../shared is absent: the reference data lie beside the project, not in it")
    return SHARED


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)
