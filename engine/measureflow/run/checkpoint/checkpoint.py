"""Checkpoints: every moving measure, with the clock and the seed that keys the noise."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from measureflow.core.measure import Particles, System
from measureflow.errors import DamageError, MeasureflowError
from measureflow.observe.observer import Stage
from measureflow.reduction.sharded import held
from measureflow.run.atomic import make, sync, writing
from measureflow.run.checkpoint.manifest import Index, clear, indexes, keep_newest, read_index, save_index, step_of
from measureflow.run.checkpoint.shards import Rows, Tensors, read_part, save_part, values
from measureflow.run.metrics_log import METRICS

FOLDER = "checkpoints"
_AS_IT_WAS = "put resolved.toml and the files that it names back as they were, or start a new run"


def save_checkpoint(system: System, stage: Stage) -> Path:
    """Writes the moving measures under checkpoints/, whole or not at all, and drops old checkpoints; returns the index.

    Each process of the team writes a part with what it holds; measures that all hold whole are in the first.
    """
    folder, team = stage.folder / FOLDER, stage.team

    def prepare() -> str:
        make(folder)
        clear(folder, system.step)
        return ""

    def finish() -> str:
        sync_metrics(stage.folder)
        path = save_index(folder, Index(system.step, system.time, stage.seed, tuple(entries)))
        keep_newest(folder, system.step)
        return str(path)

    team.led(prepare)
    mine = {name: system[name] for name in stage.moving if team.leads or held(system[name])}
    entries = [
        json.loads(text) for text in team.did(lambda: json.dumps(save_part(folder, system.step, mine, team.rank, team.size)))
    ]
    return Path(team.led(finish))


def sync_metrics(run: Path) -> None:
    """Rows before a checkpoint are not measured again, so they are on the disk before it counts."""
    path = run / METRICS
    if path.exists():
        with writing(path):
            sync(path)


def newest_step(run: Path) -> int | None:
    """The step of a run's newest checkpoint, by its name; None where there is none."""
    found = indexes(run / FOLDER)
    return step_of(found[-1]) if found else None


def newest(fresh: System, stage: Stage, warn: Callable[[str], object]) -> System:
    """The system in the newest checkpoint that is whole, `fresh` where a run has none yet; warns of each one passed over.

    Raises MeasureflowError where checkpoints are there and none is whole.
    """
    read: list[System] = []
    path = stage.team.led(lambda: _newest(fresh, stage, warn, read))  # all go on from one checkpoint, whatever each can see
    if read or not path:
        return read[0] if read else fresh
    return restored(Path(path), fresh, stage)


def _newest(fresh: System, stage: Stage, warn: Callable[[str], object], read: list[System]) -> str:
    """Puts the system of the newest checkpoint that is whole into `read`; returns its index, "" where a run has none yet."""
    damages: list[str] = []
    for path in reversed(indexes(stage.folder / FOLDER)):
        try:
            system = restored(path, fresh, stage)
        except DamageError as damage:
            damages.append(str(damage))
            continue
        for text in damages:
            warn(f"{text}; going on from step {system.step}, the checkpoint before")
        read.append(system)
        return str(path)
    if damages:
        folder, listed = stage.folder / FOLDER, "".join(f"\n  {text}" for text in damages)
        raise MeasureflowError(f"{folder}: no checkpoint is whole; delete this folder, and resume starts from step 0{listed}")
    return ""


def restored(path: Path, fresh: System, stage: Stage) -> System:
    """The system of an index, whole from any number of parts; its unmoved measures are those of `fresh`.

    Raises DamageError where the index or a part is not what was written, MeasureflowError where they do not fit the run.
    """
    index = read_index(path)
    if index.seed != stage.seed:
        raise MeasureflowError(f"{path}: was written under seed {index.seed}, this run has seed {stage.seed}")
    parts = [(entry["rows"], read_part(path.parent, entry)) for entry in index.parts]
    moved = {name: _restored(path, name, fresh[name], parts) for name in stage.moving}
    return System({**fresh.measures, **moved}, index.step, index.time)


def _restored(path: Path, name: str, like: Particles, parts: Sequence[tuple[Rows, Tensors]]) -> Particles:
    """A whole measure, on the domain, of the precision and with the marks of `like`."""
    there = sorted(((rows[name], tensors) for rows, tensors in parts if name in rows), key=lambda each: each[0])
    sizes = _sizes(path, name, [rows for rows, _ in there])
    if sum(sizes) != like.size:
        raise MeasureflowError(f"{path}: {name} has {sum(sizes):,} atoms and in this run {like.size:,}; {_AS_IT_WAS}")

    def whole(key: str, v: torch.Tensor) -> torch.Tensor:
        blocks = [tensors.get(f"{name}.{key}") for _, tensors in there]
        fit = [block for block, n in zip(blocks, sizes, strict=True) if block is not None and _fits(block, n, v)]
        if len(fit) < len(blocks):
            kind = f"d = {like.dim}, {like.points.dtype}"
            raise MeasureflowError(f"{path}: {name}.{key} is missing or does not fit this run ({kind})")
        return joined(fit, sizes, v.shape[1:])

    return Particles.of({key: whole(key, v) for key, v in like.tensors.items()}, like.domain).to(like.points.device)


def _sizes(path: Path, name: str, rows: Sequence[Sequence[int]]) -> list[int]:
    """The sizes of blocks that make up a whole one after the other."""
    ends = [0, *(stop for _, stop, _ in rows)]
    if not rows or [start for start, _, _ in rows] != ends[:-1] or {whole for _, _, whole in rows} != {ends[-1]}:
        raise DamageError(f"{path}: its parts do not make up the whole of {name!r}")
    return [stop - start for start, stop, _ in rows]


def _fits(block: torch.Tensor, size: int, like: torch.Tensor) -> bool:
    return block.dtype == like.dtype and block.shape in (like.shape[1:], (size, *like.shape[1:]))


def joined(blocks: Sequence[torch.Tensor], sizes: Sequence[int], rest: torch.Size) -> torch.Tensor:
    """Blocks of so many rows as one tensor (sum of sizes, *rest); one value throughout stays one value, broadcast."""
    once = all(block.shape == rest for block in blocks)
    if once and all(torch.equal(block, blocks[0]) for block in blocks):
        return blocks[0].expand(sum(sizes), *rest)
    spread = [block.expand(size, *rest) for block, size in zip(blocks, sizes, strict=True)]
    return spread[0] if len(spread) == 1 else torch.cat(spread)


def fingerprints(system: System) -> dict[str, str]:
    """A fingerprint of each measure as a run starts, so that a resumed run notices other data or another start."""
    return {name: _fingerprint(mu) for name, mu in sorted(system.measures.items())}


def _fingerprint(mu: Particles) -> str:
    sha = hashlib.sha256()
    for key, tensor in sorted(values(mu).items()):
        sha.update(f"{key} {list(tensor.shape)} {tensor.dtype}".encode())
        sha.update(tensor.numpy().data)
    return sha.hexdigest()
