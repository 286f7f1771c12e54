"""Rows of the meter's runs in a file, so that a run that has ended is not run again."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import attrs

from measureflow.run.jsonl import append, read_rows, write_rows
from measureflow_tools.error_budget.runs import Rows


@final
@attrs.frozen(eq=False)
class Kept:
    """A file of JSON lines, one for each run in the order in which they are planned."""

    path: Path
    known: list[Rows]

    @classmethod
    def at(cls, path: Path) -> "Kept":
        """What the file has, without a line that was cut short; raises MeasureflowError if another line is damaged."""
        lines = read_rows(path, _sound)
        write_rows(path, lines)
        return cls(path, [line["rows"] for line in lines])

    def rows(self, number: int, steps: int, take: Callable[[], Rows]) -> Rows:
        """The rows of a run that are kept, or that are taken and then kept."""
        if number == len(self.known):
            self.known.append(take())
            append(self.path, {"step": steps, "rows": self.known[number]})
        return self.known[number]


def _sound(line: Mapping[str, Any]) -> bool:
    rows = [row for part in line["rows"].values() for row in part]
    return all(isinstance(value, int | float) for row in rows for value in row.values())
