"""Metrics for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.observe.observer import Observer, Row, See, Shows, Stage
from measureflow_plugins.extras import needed


@final
@attrs.frozen
class TensorBoard(Observer):
    """Writes every metric at its step into tensorboard/ of the run folder: `tensorboard --logdir RUN` shows it.

    A resumed run replaces what was written after its checkpoint. Needs tensorboard (pip install "measureflow[trackers]").
    """

    kind: ClassVar[str] = "tensorboard"
    shows: ClassVar[Shows] = "clock"

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        needed("tensorboard", "observers: tensorboard", "trackers")
        make = needed("torch.utils.tensorboard", "observers: tensorboard", "trackers").SummaryWriter
        opened: list[Any] = []  # at the first system, whose step says from where on older events are void

        def see(system: System, row: Row) -> None:
            if not opened:
                opened.append(make(str(stage.folder / "tensorboard"), purge_step=system.step))
            for name, value in row.items():
                opened[0].add_scalar(name, value, system.step)

        try:
            yield see
        finally:
            for writer in opened:
                writer.close()
