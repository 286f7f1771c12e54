"""An experiment run from Python, where no run folder is wanted."""

import functools
from collections.abc import Iterator
from pathlib import Path

from measureflow.config.build import build
from measureflow.config.experiment import Experiment
from measureflow.core.measure import System
from measureflow.dynamics.divergence import Guard
from measureflow.observe.observer import Row, observed
from measureflow.plugins.registry import Registry
from measureflow.run.events import said
from measureflow.run.runner import Asked, stage_of, systems_of


def play(e: Experiment, registry: Registry, quiet: bool = False) -> Iterator[tuple[System, Row]]:
    """Each system with the metrics measured at it, as floats, empty where none was due; nothing is written.

    Of the experiment's observers, only `progress` watches, silent under `quiet`. Raises ConfigError, and NonFiniteError at
    the step that fails.
    """
    built = build(e, registry)
    watches = [watch for watch in e.observers if watch.observer.kind == "progress"]  # others write into a run folder
    stage = stage_of(e, Asked(Path(), quiet))
    systems = systems_of(e, built, Guard(), functools.partial(said, stage))
    yield from observed(systems, stage, built.view, e.metrics, watches)
