"""Metrics for Weights & Biases."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, final

import attrs

from measureflow.measure import System
from measureflow.observe import Looks, Observer, Row, See, Stage, never
from measureflow_plugins.extras import needed


@final
@attrs.frozen
class Wandb(Observer):
    """Logs every metric at its step into wandb/ of the run folder, offline: `wandb sync RUN/wandb/offline-run-*` sends it.

    `mode = "online"` sends at once, and asks for an account. Needs wandb (pip install "measureflow[trackers]").
    """

    kind: ClassVar[str] = "wandb"
    project: str = "measureflow"
    mode: Literal["offline", "online"] = "offline"

    def looks(self, last: int) -> Looks:
        return never

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        wandb = needed("wandb", "observers: wandb", "trackers")
        settings = wandb.Settings(console="off", silent=True, disable_git=True, save_code=False)
        facts = {"seed": stage.seed, "steps": stage.steps}
        run = wandb.init(
            project=self.project, name=stage.name, dir=str(stage.folder), mode=self.mode, config=facts, settings=settings
        )

        def see(system: System, row: Row) -> None:
            if row:
                run.log(dict(row), step=system.step)

        ended = 1
        try:
            yield see
            ended = 0
        finally:
            run.finish(exit_code=ended)
