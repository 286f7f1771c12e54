"""The index of a checkpoint: written last, it makes the parts that it names a checkpoint, and vouches for them and itself."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, final

import attrs

from measureflow.errors import DamageError
from measureflow.opening import read_bytes
from measureflow.run.atomic import remove, write
from measureflow.run.checkpoint.shards import Entry

KEPT = 2  # checkpoints kept in a run folder: the newest, and the one before in case it is damaged
INDEX = re.compile(r"step-(\d{9,})\.json")
PART = re.compile(r"step-(\d{9,})\.part-\d+-of-\d+\.safetensors")
TEMPORARY = re.compile(r"\.step-(\d{9,})\.(?:json|part-\d+-of-\d+\.safetensors)\.part")


@final
@attrs.frozen
class Index:
    """The clock and the seed of a checkpoint, and an entry for each of its parts."""

    step: int
    time: float
    seed: int
    parts: tuple[Entry, ...]


def save_index(folder: Path, index: Index) -> Path:
    """Writes the index, after every part that it names; raises WriteError."""
    path = folder / f"step-{index.step:09d}.json"
    facts = attrs.asdict(index, recurse=False)
    write(path, json.dumps({"sha256": _sha256(facts), **facts}, indent=1).encode())
    return path


def read_index(path: Path) -> Index:
    """The index in a file; raises DamageError where it is not what was written."""
    try:
        facts: dict[str, Any] = json.loads(read_bytes(path))
        said = facts.pop("sha256")
        if said != _sha256(facts):
            raise ValueError("its checksum is not the one it records")
        return _index(facts, step_of(path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise DamageError(f"{path}: is no index of a checkpoint ({error})") from None


def _index(facts: dict[str, Any], step: int) -> Index:
    """The index of a step, every fact of the right type: anybody can write a file whose checksum is right."""
    found = Index(facts["step"], facts["time"], facts["seed"], tuple(_entry(each, step) for each in facts["parts"]))
    _sure(type(found.step) is int and found.step == step, "its step is not the one that it is named for")
    _sure(type(found.time) in (int, float) and math.isfinite(found.time), "its time is no finite number")
    _sure(type(found.seed) is int, "its seed is no whole number")
    return found


def _entry(raw: Any, step: int) -> Entry:
    entry = Entry(name=raw["name"], sha256=raw["sha256"], bytes=raw["bytes"], rows=raw["rows"])
    named = PART.fullmatch(entry["name"])
    _sure(named is not None and int(named[1]) == step, f"{entry['name']!r} is no part of it")
    _sure(type(entry["sha256"]) is str and type(entry["bytes"]) is int, "a part has no checksum or no size")
    _sure(all(map(_block, entry["rows"].values())), "a part has rows that are no block of a measure's")
    return entry


def _block(rows: Any) -> bool:
    """Whether rows are those from `start` up to `stop` of `whole` ones."""
    start, stop, whole = rows
    return all(type(n) is int for n in rows) and 0 <= start <= stop <= whole


def _sure(well: bool, wrong: str) -> None:
    if not well:
        raise ValueError(wrong)


def _sha256(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def indexes(folder: Path) -> list[Path]:
    """The indexes in a folder of checkpoints, by step; none where there is no such folder."""
    return [path for _, path in _found(folder, INDEX)]


def step_of(path: Path) -> int:
    """The step that the name of an index says."""
    return int(path.stem.removeprefix("step-"))


def clear(folder: Path, step: int) -> None:
    """Removes what killed processes left: temporaries and parts without an index, but for those of `step`, now being written."""
    indexed = {step_of(path) for path in indexes(folder)}
    for left, path in (*_found(folder, TEMPORARY), *_found(folder, PART)):
        if left != step and (left not in indexed or TEMPORARY.fullmatch(path.name)):
            remove(path)


def keep_newest(folder: Path, step: int) -> None:
    """Drops all checkpoints but the newest up to `step`: one that is said to be later was found damaged and passed over."""
    steps = [step_of(path) for path in indexes(folder)]
    kept = [each for each in steps if each <= step][-KEPT:]
    for each in steps:
        if each not in kept:
            _drop(folder, each)


def _drop(folder: Path, step: int) -> None:
    """The index first: parts without one are no checkpoint."""
    for pattern in (INDEX, PART):
        for each, path in _found(folder, pattern):
            if each == step:
                remove(path)


def _found(folder: Path, pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    """(step, path) of what we named so, by step; other files are not ours."""
    names = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(match[1]), path) for match, path in names if match)
