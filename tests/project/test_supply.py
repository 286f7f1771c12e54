"""What is installed is what is locked, and what CI runs, hooks run: no network is asked."""

import importlib.metadata
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
TABLES = tomllib.loads((ROOT / "pyproject.toml").read_text())
locked = pytest.mark.skipif(
    (sys.platform, sys.version_info[:2]) != ("linux", (3, 11)), reason="the lock is of Linux and Python 3.11"
)
FRAGMENT = re.compile(r"\+[a-z0-9-]+\.([a-z]+)\.md")


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    """.ci/lock.py, which is a script and no module of a package."""
    spec = importlib.util.spec_from_file_location("lock", ROOT / ".ci" / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@locked
def test_all_that_is_installed_is_pinned(lock: ModuleType) -> None:
    """The extras `peers` and `sinkhorn` may be absent; the lock says who asks for what, and is believed about them."""
    assert lock.faults(lock.pins(), lock.roots()) == [], "run: python .ci/lock.py"


@locked
def test_an_extra_may_be_absent(lock: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without(name: str) -> str:
        if name in ("jax", "jaxlib", "torchebm", "geomloss", "ml-dtypes", "opt-einsum"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without)
    assert lock.faults(lock.pins(), lock.roots()) == []
    lost = {name: pin for name, pin in lock.pins().items() if name != "jax"}
    faults = lock.faults(lost, lock.roots())
    assert "jax is asked for by measureflow and not pinned" in faults
    assert "opt-einsum is pinned and nobody asks for it" in faults


@locked
def test_the_lock_is_checked_both_ways(lock: ModuleType) -> None:
    pinned, asked = lock.pins(), lock.roots()
    without = {name: pin for name, pin in pinned.items() if name != "mdurl"}
    assert lock.faults(without, asked) == ["mdurl 0.1.2 is installed and not pinned"]
    older = pinned | {"attrs": ("24.1.0", pinned["attrs"][1])}
    assert lock.faults(older, asked) == [f"attrs is pinned to 24.1.0, installed is {pinned['attrs'][0]}"]
    assert lock.faults(pinned | {"leftpad": ("1.0", set())}, asked) == ["leftpad is pinned and nobody asks for it"]
    orphan = pinned | {"leftpad": ("1.0", {"once-a-dependency"})}
    assert lock.faults(orphan, asked) == ["leftpad is pinned and nobody asks for it"]
    assert lock.faults(pinned, [*asked, Requirement("not-there>=1")]) == ["not-there is asked for by measureflow and not pinned"]


def test_every_requirement_is_pinned(lock: ModuleType) -> None:
    """By name, installed or not; torch without the mark of a build."""
    names = {lock.canonicalize_name(wish.name) for wish in lock.roots()}
    assert names - lock.pins().keys() == set()
    assert lock.pins()["torch"][0] == "2.13.0"


def test_what_the_lock_writes_is_what_it_reads(lock: ModuleType, tmp_path: Path) -> None:
    versions, askers = lock.needed([Requirement("rich"), Requirement("pluggy")])
    file = tmp_path / "constraints.txt"
    file.write_text(lock.written(versions, askers))
    assert {"rich", "pluggy", "markdown-it-py", "mdurl", "pygments"} == lock.pins(file).keys()
    assert lock.pins(file)["mdurl"][1] == {"markdown-it-py"}
    assert lock.faults(lock.pins(file), [Requirement("rich"), Requirement("pluggy")]) == []


def test_every_hook_is_a_command_that_ci_runs() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    script = (ROOT / ".ci" / "run").read_text()
    (checks,) = re.findall(r"^for check in (.*); do$", script, re.MULTILINE)
    entries = []
    for hook in repo["hooks"]:
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        entries.append(hook["entry"])
    tests = [entry for entry in entries if entry.startswith("python -m pytest ")]
    assert [entry for entry in entries if entry not in tests] == shlex.split(checks)
    (stale,) = tests  # a part of the tests, all of which CI runs
    listed = subprocess.run([sys.executable, *stale.split()[1:], "--collect-only"], cwd=ROOT, capture_output=True, text=True)
    assert listed.stdout.splitlines()[0] == "tests/docs/test_site.py::test_what_is_taken_from_the_code_is_not_stale"


def test_every_fragment_has_a_type_and_they_make_a_section() -> None:
    types = {each["directory"] for each in TABLES["tool"]["towncrier"]["type"]}
    fragments = [path.name for path in (ROOT / "changes").iterdir() if path.name != "README.md"]
    odd = [name for name in fragments if not ((match := FRAGMENT.fullmatch(name)) and match.group(1) in types)]
    assert odd == [], f"+NAME.TYPE.md, with TYPE one of {sorted(types)}"
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9", "--date", "2000-01-01"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "## 9.9.9 (2000-01-01)" in built.stdout
    for name in fragments:
        assert (ROOT / "changes" / name).read_text().split("\n")[0] in built.stdout
    assert TABLES["tool"]["towncrier"]["start_string"] in (ROOT / "CHANGELOG.md").read_text()


def test_updates_and_audit_are_what_is_written_of_them() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())
    assert updates["version"] == 2
    kinds = {each["package-ecosystem"]: each for each in updates["updates"]}
    assert kinds.keys() == {"pip", "github-actions"}
    assert all(
        each["schedule"] == {"interval": "weekly"} and (ROOT / each["directory"].lstrip("/")).is_dir() for each in kinds.values()
    )
    assert kinds["pip"]["groups"]["python"]["patterns"] == ["*"]
    audit = yaml.safe_load((ROOT / ".github" / "workflows" / "audit.yml").read_text())
    (job,) = audit["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert f"`{commands[-1]}`" in (ROOT / "SECURITY.md").read_text()
    assert audit["permissions"] == {"contents": "read"}
