"""Checkpoints at intervals."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.core.schedule import within
from measureflow.observe.observer import Looks, Observer, Row, See, Shows, Stage, never
from measureflow.run.checkpoint.checkpoint import save_checkpoint


@final
@attrs.frozen
class Checkpoint(Observer):
    """Saves the moving measures each time at least `seconds` have passed since the last save; a run's end always does."""

    kind: ClassVar[str] = "checkpoint"
    shows: ClassVar[Shows] = "parts"
    seconds: float = attrs.field(default=60.0, validator=within(0.0))

    def looks(self, last: int) -> Looks:
        return never

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        last, turns = [time.monotonic()], itertools.count()

        def see(system: System, row: Row) -> None:
            late = stage.team.agreed(next(turns), time.monotonic() - last[0] >= self.seconds)
            if late and system.step < stage.steps and stage.sure():
                save_checkpoint(system, stage)
                last[0] = time.monotonic()

        yield see
