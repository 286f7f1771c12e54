"""The tutorial's package in the repository's folder, tested by the tutorial's last line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
LAST = "python -m pytest my-walk"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The repository's top folder as far as pip and pytest read it, with the package that the tutorial writes."""
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "engine", "plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "my-walk").mkdir()
    for name, text in re.findall(r"<!-- file: (my-walk/\S+) -->\n+```\w+\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_last_line_is_where_the_test_expects_it() -> None:
    assert TUTORIAL.count(f"pip install -c constraints.txt pytest\n{LAST}\n") == 1


def test_the_repositorys_settings_of_pytest_do_not_apply(folder: Path) -> None:
    command = [sys.executable, *LAST.split()[1:], "-p", "no:benchmark"]  # which these settings need and a user does not have
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.slow
def test_the_last_line_works_in_the_environment_of_the_tutorial(folder: Path) -> None:
    """Every command of the tutorial that installs, in its order, and then the last line."""
    installs = [line for line in TUTORIAL.splitlines() if line.startswith(("python3 -m venv", "pip install"))]
    assert len(installs) == 4
    script = "\n".join(["set -e", installs[0], ". .venv/bin/activate", *installs[1:], LAST])
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(["sh", "-c", script], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
