"""Checkpoints: parts and an index, read back bit for bit from any number of parts, and nothing that changed since is believed."""

import functools
import hashlib
import json
import math
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from measureflow.core.measure import Particles, System
from measureflow.errors import DamageError, MeasureflowError
from measureflow.observe.observer import Stage
from measureflow.run.checkpoint.checkpoint import FOLDER, joined, newest, restored, save_checkpoint
from measureflow.run.checkpoint.manifest import KEPT, Index, clear, indexes, keep_newest, read_index, save_index
from measureflow.run.checkpoint.shards import read_part, save_part
from measureflow_plugins.domains.euclidean import Euclidean

R = Euclidean()


def measure(size: int, d: int, seed: int, equal: bool = False) -> Particles:
    """Atoms anywhere; their masses all different, or one broadcast value."""
    draw = torch.Generator().manual_seed(seed)
    points = torch.randn(size, d, generator=draw)
    if equal:
        return Particles.uniform(points, R)
    sign = torch.where(torch.rand(size, generator=draw) < 0.5, -1.0, 1.0)
    marks = {"age": torch.randn(size, 2, generator=draw), "base": torch.zeros(1).expand(size)}
    return Particles(points, sign, torch.randn(size, generator=draw), R, marks)


def system(step: int = 3) -> System:
    return System(
        {"nu": measure(20, 3, step, equal=True), "gamma": measure(7, 4, step + 1), "data": measure(5, 3, 9)}, step, 0.1 * step
    )


def stage(folder: Path) -> Stage:
    return Stage("x", folder, 100, 5, ("nu", "gamma"))


def in_parts(now: System, folder: Path, n: int) -> Path:
    """A checkpoint in which nu is dealt out in n blocks and gamma stands whole in part 0."""
    folder = folder / FOLDER
    folder.mkdir(exist_ok=True)
    cuts = [now["nu"].size * k // n for k in range(n + 1)]
    held = [{"nu": now["nu"].block(cuts[k], cuts[k + 1])} | ({"gamma": now["gamma"]} if k == 0 else {}) for k in range(n)]
    entries = tuple(save_part(folder, now.step, held[k], k, n) for k in reversed(range(n)))
    return save_index(folder, Index(now.step, now.time, 5, entries))


def same(one: Particles, two: Particles) -> None:
    assert one.tensors.keys() == two.tensors.keys()
    for key, tensor in one.tensors.items():
        assert torch.equal(tensor, two.tensors[key]), key
    assert one.equal == two.equal
    assert (one.offset, one.whole, one.domain) == (two.offset, two.whole, two.domain)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 20])
def test_a_system_is_read_back_from_any_number_of_parts(tmp_path: Path, n: int) -> None:
    now, fresh = system(), system(0)
    path = in_parts(now, tmp_path, n) if n else save_checkpoint(now, stage(tmp_path))
    again = restored(path, fresh, stage(tmp_path))
    assert (again.step, again.time) == (now.step, now.time)
    for name in ("nu", "gamma"):
        same(again[name], now[name])
    assert again["data"] is fresh["data"]


def test_entries_survive_json(tmp_path: Path) -> None:
    entry = save_part(tmp_path, 3, {"nu": measure(20, 3, 0).block(5, 9)}, 1, 4)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["name"] == "step-000000003.part-1-of-4.safetensors"
    assert entry["rows"] == {"nu": [5, 9, 20]}
    assert entry["bytes"] == (tmp_path / entry["name"]).stat().st_size
    assert torch.equal(read_part(tmp_path, entry)["nu.points"], measure(20, 3, 0).points[5:9])


def test_one_value_throughout_stays_one_value() -> None:
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    assert joined([one, one], [3, 2], torch.Size()).stride() == (0,)
    assert joined([one, two], [2, 1], torch.Size()).tolist() == [1.0, 1.0, 2.0]
    assert joined([one, torch.tensor([4.0, 5.0])], [1, 2], torch.Size()).tolist() == [1.0, 4.0, 5.0]
    assert joined([torch.ones(1), torch.ones(1)], [1, 1], torch.Size()).stride() == (1,)


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_rows_that_are_missing_or_there_twice(tmp_path: Path, left_out: int) -> None:
    now = system()
    index = read_index(in_parts(now, tmp_path, 3))
    kept = tuple(entry for k, entry in enumerate(index.parts) if k != left_out)
    for parts in (kept, (*index.parts, index.parts[left_out])):
        path = save_index(tmp_path / FOLDER, attrs.evolve(index, parts=parts))
        with pytest.raises(DamageError, match=r"its parts do not make up the whole of '(nu|gamma)'"):
            restored(path, now, stage(tmp_path))


def test_a_checkpoint_under_another_seed_is_no_damage(tmp_path: Path) -> None:
    save_checkpoint(system(), stage(tmp_path))
    with pytest.raises(MeasureflowError, match="was written under seed 5, this run has seed 6"):
        newest(system(0), attrs.evolve(stage(tmp_path), seed=6), pytest.fail)


def test_what_does_not_fit_the_run_is_no_damage(tmp_path: Path) -> None:
    path = save_checkpoint(system(), stage(tmp_path))
    for fresh, key in (({"nu": measure(20, 9, 0, equal=True)}, "nu.points"), ({"gamma": measure(7, 4, 0, equal=True)}, None)):
        other = system().replace(fresh)
        if key:
            with pytest.raises(MeasureflowError, match=rf"{key} is missing or does not fit this run \(d = 9, torch.float32\)"):
                newest(other, stage(tmp_path), pytest.fail)
        else:
            same(restored(path, other, stage(tmp_path))["gamma"].replace(marks={}), system()["gamma"].replace(marks={}))


# --- what is kept ---


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def test_the_newest_are_kept_and_no_file_of_another_is_touched(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    others = ["notes.txt", "step-1.json", "step-000000001.safetensors", ".step-000000001.txt.part", "step-000000001.json.bak"]
    for name in others:
        (tmp_path / FOLDER / name).write_text("mine")
    for step in (1, 2, 10, 999_999_999, 1_000_000_000):
        save_checkpoint(system(step), stage(tmp_path))
    kept = [f"step-{step:09d}.{end}" for step in (999_999_999, 1_000_000_000) for end in ("json", "part-0-of-1.safetensors")]
    assert files(tmp_path) == sorted(others + kept)
    assert [path.name for path in indexes(tmp_path / FOLDER)] == [kept[0], kept[2]]


def test_what_killed_processes_left_is_cleared_but_for_the_step_at_work(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    save_checkpoint(system(2), stage(tmp_path))
    left = ["step-000000003.part-0-of-2.safetensors", ".step-000000004.json.part", ".step-000000003.part-1-of-2.safetensors.part"]
    at_work = ["step-000000005.part-1-of-2.safetensors", ".step-000000005.part-0-of-2.safetensors.part"]
    for name in left + at_work:
        (folder / name).write_text("torn")
    assert [path.name for path in indexes(folder)] == ["step-000000002.json"]
    clear(folder, 5)
    assert files(tmp_path) == sorted([*at_work, "step-000000002.json", "step-000000002.part-0-of-1.safetensors"])


def test_a_damaged_checkpoint_of_a_later_step_is_dropped_by_the_next(tmp_path: Path) -> None:
    for step in (1, 8, 9):
        save_checkpoint(system(step), stage(tmp_path))
    (tmp_path / FOLDER / "step-000000009.json").write_text("torn")
    assert newest(system(0), stage(tmp_path), lambda _: None).step == 8
    save_checkpoint(system(8), stage(tmp_path))
    assert [path.name for path in indexes(tmp_path / FOLDER)] == ["step-000000008.json"]
    keep_newest(tmp_path / FOLDER, 8)
    assert KEPT == 2


# --- what changed since ---


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_no_bit_of_an_index_can_change_unseen(tmp_path: Path) -> None:
    path = save_checkpoint(system(), stage(tmp_path))
    content, index = path.read_bytes(), read_index(path)
    unseen = 0
    for bit in range(8 * len(content)):
        path.write_bytes(flipped(content, bit))
        with suppress(DamageError):
            assert read_index(path) == index, bit
            unseen += 1  # one white space for another, say
    assert unseen < 0.02 * 8 * len(content)


def damaged(content: bytes) -> list[bytes]:
    """Cut at every twentieth, flipped in the header's length, in the header and all over the data, empty, doubled, zeroed."""
    draw = random.Random(0)
    header = 8 * (8 + int.from_bytes(content[:8], "little"))
    bits = [*range(0, 64, 7), *draw.sample(range(64, header), 40), *draw.sample(range(header, 8 * len(content)), 40)]
    cut = [content[: len(content) * k // 20] for k in range(20)]
    return [*cut, *(flipped(content, bit) for bit in bits), content + b"\0", content * 2, bytes(len(content)), b"hello"]


def test_a_part_that_changed_is_passed_over_for_the_checkpoint_before(tmp_path: Path) -> None:
    for step in (3, 4):
        save_checkpoint(system(step), stage(tmp_path))
    path = tmp_path / FOLDER / "step-000000004.part-0-of-1.safetensors"
    content = path.read_bytes()
    for bad in damaged(content):
        path.write_bytes(bad)
        said: list[str] = []
        assert newest(system(0), stage(tmp_path), said.append).step == 3
        wrong = "its checksum is not the one that was recorded" if len(bad) == len(content) else f"has {len(bad):,} bytes of"
        assert len(said) == 1
        assert said[0].startswith(f"{path}: {wrong}")
        assert said[0].endswith("; going on from step 3, the checkpoint before")
    path.unlink()
    said = []
    assert newest(system(0), stage(tmp_path), said.append).step == 3
    assert said == [f"{path}: is missing; going on from step 3, the checkpoint before"]
    path.write_bytes(content)
    assert newest(system(0), stage(tmp_path), pytest.fail).step == 4


# --- forged, with every checksum right ---

FORGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no rows": lambda facts: facts["parts"][0].pop("rows"),
    "no name": lambda facts: facts["parts"][0].pop("name"),
    "no sha256": lambda facts: facts["parts"][0].pop("sha256"),
    "no bytes": lambda facts: facts["parts"][0].pop("bytes"),
    "no time": lambda facts: facts.pop("time"),
    **{f"step {value!r}": functools.partial(dict.update, step=value) for value in ("x", None, 1.5, [], True, -1, 4, 10**30)},
    **{f"time {value!r:.9}": functools.partial(dict.update, time=value) for value in ("x", None, 10**400, math.nan, math.inf)},
    **{f"seed {value!r}": functools.partial(dict.update, seed=value) for value in (False, None, "5")},
    **{f"parts {value!r}": functools.partial(dict.update, parts=value) for value in ([3], "ab", None, {"a": 1}, [[]], [{}])},
    **{
        f"rows {value!r}": lambda facts, value=value: facts["parts"][0]["rows"].update(nu=value)  # type: ignore[misc]
        for value in ([0, 20], "abc", 3, None, [0, 20.0, 20], [0, 2**60, 2**59], [5, 1, 20], [-1, 20, 21], [[], 1, 2])
    },
    **{
        f"name {value!r}": lambda facts, value=value: facts["parts"][0].update(name=value)  # type: ignore[misc]
        for value in ("/etc/passwd", "../checkpoints/step-000000003.part-0-of-1.safetensors", 3, None, [], "")
    },
    "the part of another step": lambda facts: facts["parts"][0].update(name="step-000000002.part-0-of-1.safetensors"),
    "bytes of a float": lambda facts: facts["parts"][0].update(bytes=float(facts["parts"][0]["bytes"])),
    "sha256 of a number": lambda facts: facts["parts"][0].update(sha256=3),
}


def sealed(path: Path, facts: dict[str, Any]) -> None:
    """Writes an index whose checksum is that of its facts."""
    said = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({"sha256": said, **facts}))


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_a_forged_index_is_damage(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = save_checkpoint(system(), stage(tmp_path))
    facts = json.loads(path.read_text())
    del facts["sha256"]
    sealed(path, facts)
    assert read_index(path).step == 3
    change(facts)
    sealed(path, facts)
    with pytest.raises(DamageError, match="is no index of a checkpoint"):
        restored(path, system(0), stage(tmp_path))


@pytest.mark.parametrize("text", ["[" * 10**5, '{"a":' * 10**5, "3", "[3]", '"x"', "null", "{}"])
def test_an_index_that_is_none(tmp_path: Path, text: str) -> None:
    path = save_checkpoint(system(), stage(tmp_path))
    path.write_text(text)
    with pytest.raises(DamageError, match="is no index of a checkpoint"):
        read_index(path)


def test_a_checkpoint_with_another_number_of_atoms_does_not_fit(tmp_path: Path) -> None:
    save_checkpoint(system(), stage(tmp_path))
    other = system(0).replace({"gamma": measure(9, 4, 0)})
    with pytest.raises(MeasureflowError, match=r"gamma has 7 atoms and in this run 9; put resolved\.toml"):
        newest(other, stage(tmp_path), pytest.fail)
