"""`python .ci/lock.py` writes constraints.txt anew: every distribution that the project's extras bring, as it is installed here.

Run it in an environment with every extra: `pip install -U -e '.[dev,peers,sinkhorn]'` is how versions move. Nothing is looked up.
"""

import importlib.metadata
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
SELF = "measureflow"
HEAD = """\
# Everything that the extras bring, whoever asks for it: what CI and the README's commands install, and what every figure in the
# docs was measured with. Written by `python .ci/lock.py` on Linux under Python 3.11; a test fails where it is not installed so.
# No hashes: torch comes from whichever index is at hand, and its build for the CPU has another hash than PyPI's. That one brings
# NVIDIA's libraries too, each pinned by torch itself.
"""


def roots(pyproject: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """What the project asks for: its dependencies, those of every extra, and what builds it."""
    tables = tomllib.loads(pyproject.read_text())
    project = tables["project"]
    asked = [*project["dependencies"], *tables["build-system"]["requires"]]
    for extra in project["optional-dependencies"].values():
        asked += extra
    return [wish for wish in map(Requirement, asked) if canonicalize_name(wish.name) != SELF]


def wishes(wish: Requirement) -> Iterator[Requirement]:
    """What an installed distribution asks for here, under the extras it was asked with."""
    for text in importlib.metadata.requires(wish.name) or ():
        child = Requirement(text)
        if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in ("", *wish.extras)):
            yield child


def needed(asked: list[Requirement]) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Versions by name of all that is installed and asked for, and who asks for what; what is absent has askers and no version."""
    versions: dict[str, str] = {}
    askers: dict[str, set[str]] = {}
    queue, seen = [(SELF, wish) for wish in asked], set()
    while queue:
        parent, wish = queue.pop()
        name = canonicalize_name(wish.name)
        askers.setdefault(name, set()).add(parent)
        for extra in ("", *sorted(wish.extras)):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                versions[name] = Version(importlib.metadata.version(name)).public  # 2.13.0, not 2.13.0+cpu
            except importlib.metadata.PackageNotFoundError:
                break
            asked_with = Requirement(f"{wish.name}[{extra}]" if extra else wish.name)
            queue += [(name, child) for child in wishes(asked_with)]
    return versions, askers


def written(versions: Mapping[str, str], askers: Mapping[str, set[str]]) -> str:
    lines = [f"{name}=={versions[name]}  # for {', '.join(sorted(askers[name]))}\n" for name in sorted(versions)]
    return HEAD + "".join(lines)


def pins(file: Path = ROOT / "constraints.txt") -> dict[str, tuple[str, set[str]]]:
    """Version and askers by name, as the file says."""
    found = {}
    for line in file.read_text().splitlines():
        if not line.startswith("#"):
            pin, _, comment = line.partition("  # for ")
            name, _, version = pin.partition("==")
            found[name] = (version, set(comment.split(", ")) - {""})
    return found


def faults(pinned: Mapping[str, tuple[str, set[str]]], asked: list[Requirement]) -> list[str]:
    """What the lock and this environment do not agree on; of an extra that is not installed, the lock is believed."""
    versions, askers = needed(asked)
    found = [f"{name} {version} is installed and not pinned" for name, version in versions.items() if name not in pinned]
    found += [
        f"{name} is asked for by {', '.join(sorted(askers[name]))} and not pinned"
        for name in askers
        if name not in {*versions, *pinned}
    ]
    for name, (version, said) in pinned.items():
        if versions.get(name, version) != version:
            found.append(f"{name} is pinned to {version}, installed is {versions[name]}")
        known = {asker for asker in said if asker == SELF or asker in versions}
        unknown = {asker for asker in said - known if asker in pinned}
        if not (askers.get(name, set()) | unknown):
            found.append(f"{name} is pinned and nobody asks for it")
        elif known != askers.get(name, set()):
            found.append(f"{name} is asked for by {sorted(askers.get(name, set()))}, the lock says {sorted(known)}")
    return found


if __name__ == "__main__":
    versions, askers = needed(roots())
    absent = sorted(askers.keys() - versions.keys())
    if absent:
        raise SystemExit(f"not installed: {', '.join(absent)}; pip install -c constraints.txt -e '.[dev,peers,sinkhorn]'")
    (ROOT / "constraints.txt").write_text(written(versions, askers))
