"""Shared by all tests: the installed plugins, the folder of data beside the project, quiet threads."""

from pathlib import Path

import pytest

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
