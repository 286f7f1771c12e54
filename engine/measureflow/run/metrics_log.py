"""The metrics of a run, on the record: metrics.jsonl."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, final

import attrs

from measureflow.core.measure import System
from measureflow.errors import CONTROL
from measureflow.observe.observer import Observer, Row, See, Shows, Stage
from measureflow.opening import appending
from measureflow.run.atomic import writing
from measureflow.run.jsonl import put, read_rows

METRICS = "metrics.jsonl"


@final
@attrs.frozen
class Log(Observer):
    """Appends every row to metrics.jsonl: `step`, `seconds` since the run's start, then the metrics."""

    kind: ClassVar[str] = "log"
    shows: ClassVar[Shows] = "clock"

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        rows = read_metrics(stage.folder)
        before = rows[-1]["seconds"] if rows else 0.0
        began = time.perf_counter()
        path = stage.folder / METRICS
        with writing(path):
            opened = appending(path)
        with opened as file:

            def see(system: System, row: Row) -> None:
                if row:
                    seconds = round(before + time.perf_counter() - began, 6)
                    with writing(path):
                        put(file, {"step": system.step, "seconds": seconds, **row})

            yield see


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of metrics.jsonl, a torn last line left out; raises MeasureflowError where another line is damaged."""
    return read_rows(folder / METRICS, _numbers)


def _numbers(row: dict[str, Any]) -> bool:
    """Whether a row is numbers by name, among them the seconds since the start; raises OverflowError beyond the floats."""
    numbers = [float(value) for value in row.values() if type(value) in (int, float)]
    return len(numbers) == len(row) and not any(map(CONTROL.search, row)) and math.isfinite(row["seconds"])
