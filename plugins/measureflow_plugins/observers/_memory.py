"""What `health` saw of late, on the record: health.jsonl, so that a resumed run warns as one that was not interrupted."""

from collections.abc import Sequence
from typing import Any, final

import attrs

from measureflow.observe.observer import Stage
from measureflow.opening import appending
from measureflow.run.atomic import writing
from measureflow.run.jsonl import put, read_rows, write_rows

LOOKS = "health.jsonl"  # one object a line: `step`, then what was seen at it, by name


@final
@attrs.define
class Memory:
    """The last `count` values under each name; the first process of a team keeps them in the run folder too."""

    stage: Stage
    count: int
    values: dict[str, list[float]] = attrs.field(factory=dict)
    now: dict[str, float] = attrs.field(factory=dict)
    recalled: bool = False

    def recall(self, step: int) -> None:
        """Reads back, at the first look, what was seen before this step; what comes from there on is seen again."""
        path = self.stage.folder / LOOKS
        if not self.recalled and self.stage.team.leads and path.exists():
            rows = [row for row in read_rows(path, _numbers) if row["step"] < step]
            write_rows(path, rows)
            for row in {row["step"]: row for row in rows}.values():  # two observers of a run see the same
                for name in row.keys() - {"step"}:
                    self.last(name, row[name])
        self.recalled, self.now = True, {}

    def last(self, name: str, value: float) -> Sequence[float]:
        """The last values under a name, this one included."""
        self.now[name] = value
        self.values[name] = [*self.values.get(name, []), value][-self.count :]
        return self.values[name]

    def keep(self, step: int) -> None:
        """Adds what was seen at this step to the file."""
        if self.now and self.stage.team.leads:
            path = self.stage.folder / LOOKS
            with writing(path), appending(path) as file:
                put(file, {"step": step, **self.now})


def _numbers(row: dict[str, Any]) -> bool:
    return all(type(value) in (int, float) for value in row.values())
