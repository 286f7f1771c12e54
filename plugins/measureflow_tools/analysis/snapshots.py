"""Snapshots of a run, read back as systems of fewer atoms."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from measureflow.api import Domain, MeasureflowError, Particles, Registry, System
from measureflow.config import structure as config
from measureflow.opening import check_regular
from measureflow_plugins.observers.snapshots import FOLDER, STILL

HUGE = 1e30  # beyond which squares of float32 are not finite
HOW = "add observers = ['progress', 'checkpoint', 'curves', 'snapshots'] to the config and run again"


def steps_saved(folder: Path) -> list[Path]:
    """The snapshot files of a run folder in the order of their steps."""
    return sorted((folder / FOLDER).glob("step-*.safetensors"))


def snapshots(folder: Path, registry: Registry) -> list[System]:
    """The saved systems, the unmoved measures in each; `mu.whole` is the size of the measure an atom stands for.

    Masses are those of the atoms kept: `scaled_up` gives the measure its mass back. Raises MeasureflowError where there is
    none or where a file is damaged.
    """
    found = steps_saved(folder)
    if not found:
        raise MeasureflowError(f"{folder}: has no snapshots; {HOW}")
    still = _read(folder / FOLDER / STILL, registry)
    moved = [_read(path, registry) for path in found]
    return [System({**still.measures, **system.measures}, system.step, system.time) for system in moved]


def scaled_up(mu: Particles) -> Particles:
    """The measure with the mass of the whole that it was taken from."""
    return mu if mu.whole == mu.size else mu.replace(log_mass=mu.log_mass + math.log(mu.whole / mu.size))


def _read(path: Path, registry: Registry) -> System:
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        known: dict[str, Any] = json.loads(facts["measures"])
        if not known and path.name != STILL:
            raise ValueError("it holds no measure")
        measures = {name: _measure(name, about, tensors, registry, path) for name, about in known.items()}
        return System(measures, int(facts["step"]), float(facts["time"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, MeasureflowError) as error:
        then = "the run's other snapshots need it: run it again" if path.name == STILL else "delete it to see the others"
        raise MeasureflowError(f"{path}: cannot be read as a snapshot ({error}); {then}") from None


def _measure(name: str, about: dict[str, Any], tensors: dict[str, torch.Tensor], registry: Registry, path: Path) -> Particles:
    domain = config.structure(about["domain"], Domain, registry, str(path))  # type: ignore[type-abstract]
    points, sign, log_mass = (tensors[f"{name}.{part}"] for part in ("points", "sign", "log_mass"))
    if points.ndim != 2 or 0 in points.shape or not sign.shape == log_mass.shape == points.shape[:1]:
        raise ValueError(f"{name} has no atoms, or they do not fit together")
    if not bool((points.abs() < HUGE).all() and sign.isfinite().all() and (log_mass < HUGE).all()):
        raise ValueError(f"{name} has values that are not finite, or huge")
    return Particles(points, sign, log_mass, domain, whole=int(about["whole"]))
