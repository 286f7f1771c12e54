"""Metrics for Weights & Biases."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal, final

import attrs

from measureflow.core.measure import System
from measureflow.observe.observer import Observer, Row, See, Shows, Stage
from measureflow_plugins.extras import needed

QUIET = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}  # what wandb sends of its own accord reads only these


@final
@attrs.frozen
class Wandb(Observer):
    """Logs every metric at its step into wandb/ of the run folder, offline: `wandb sync RUN/wandb/offline-run-*` sends it.

    Offline nothing is sent, wandb's own telemetry included. `mode = "online"` sends at once, and asks for an account.
    Needs wandb (pip install "measureflow[trackers]").
    """

    kind: ClassVar[str] = "wandb"
    shows: ClassVar[Shows] = "clock"
    project: str = "measureflow"
    mode: Literal["offline", "online"] = "offline"

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        with _set(QUIET if self.mode == "offline" else {}), self._watched(stage) as see:
            yield see

    @contextmanager
    def _watched(self, stage: Stage) -> Iterator[See]:
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


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """These environment variables, until the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
