"""Checkpoints: every moving measure as safetensors, with the clock and the seed that keys the noise."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from measureflow.errors import MeasureflowError
from measureflow.files import replacing
from measureflow.measure import Particles, System
from measureflow.observe import Stage

KEPT = 2  # checkpoints kept in a run folder: the newest, and the one before in case it is damaged


def save_checkpoint(system: System, stage: Stage) -> Path:
    """Writes the moving measures under checkpoints/, whole or not at all, and drops old checkpoints."""
    tensors = {f"{name}.{part}": tensor for name in stage.moving for part, tensor in _parts(system[name]).items()}
    clock = {"step": str(system.step), "time": repr(system.time), "seed": str(stage.seed)}
    path = stage.folder / "checkpoints" / f"step-{system.step:09d}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_tensors(path, tensors, clock)
    for old in sorted(path.parent.glob("step-*.safetensors"))[:-KEPT]:
        old.unlink()
    return path


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, str]) -> None:
    """Writes a safetensors file, whole or not at all; raises MeasureflowError where it cannot be written."""
    with replacing(path) as temporary, _as_os_error():
        save_file(dict(tensors), temporary, dict(facts))


@contextmanager
def _as_os_error() -> Iterator[None]:
    """A full disk is an OSError, whatever safetensors calls it."""
    try:
        yield
    except SafetensorError as error:
        raise OSError(str(error)) from None


def _parts(mu: Particles) -> dict[str, torch.Tensor]:
    """The tensors of a measure; one that is broadcast is stored as its one value."""
    once = {k: v[:1] if v.ndim and v.stride(0) == 0 else v for k, v in mu.tensors.items()}
    return {k: v.detach().cpu().contiguous() for k, v in once.items()}


def newest_checkpoint(folder: Path) -> Path:
    """The newest checkpoint of a run; raises MeasureflowError where there is none."""
    found = sorted((folder / "checkpoints").glob("step-*.safetensors"))
    if not found:
        raise MeasureflowError(f"{folder}: has no checkpoint to resume from")
    return found[-1]


def restored(path: Path, fresh: System, stage: Stage) -> System:
    """The system in a checkpoint, its unmoved measures taken from `fresh`; raises MeasureflowError where they do not fit."""
    try:
        with safe_open(path, framework="pt") as file:
            clock = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise MeasureflowError(
            f"{path}: cannot be read as a checkpoint ({error}); delete it to go on from the one before"
        ) from None
    if clock.get("seed") != str(stage.seed):
        raise MeasureflowError(f"{path}: was written under seed {clock.get('seed')}, this run has seed {stage.seed}")
    moved = {name: _restored(path, name, fresh[name], tensors) for name in stage.moving}
    return System({**fresh.measures, **moved}, int(clock["step"]), float(clock["time"]))


def _restored(path: Path, name: str, like: Particles, tensors: Mapping[str, torch.Tensor]) -> Particles:
    def part(key: str, rows: int | None, rest: torch.Size) -> torch.Tensor:
        tensor = tensors.get(f"{name}.{key}")
        if tensor is None or tensor.dtype != like.points.dtype or tensor.shape[1:] != rest:
            raise MeasureflowError(
                f"{path}: {name}.{key} is missing or does not fit this run (d = {like.dim}, {like.points.dtype})"
            )
        tensor = tensor.to(like.points.device)
        return tensor if rows is None or tensor.shape[0] == rows else tensor.expand(rows, *rest)

    points = part("points", None, like.points.shape[1:])
    sign, log_mass = (part(key, points.shape[0], torch.Size()) for key in ("sign", "log_mass"))
    marks = {key: part(f"marks.{key}", points.shape[0], mark.shape[1:]) for key, mark in like.marks.items()}
    return Particles(points, sign, log_mass, like.domain, marks)


def digest(system: System, stage: Stage) -> str:
    """A fingerprint of the measures that never move, so that a resumed run notices other data."""
    sha = hashlib.sha256()
    for name in sorted(set(system.measures) - set(stage.moving)):
        sha.update(name.encode())
        still = system[name]
        for _, tensor in sorted(_parts(still).items()):
            sha.update(tensor.numpy().data)
    return sha.hexdigest()
