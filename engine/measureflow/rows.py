"""The lines of metrics.jsonl."""

import json
import math
from pathlib import Path
from typing import Any

from measureflow.errors import MeasureflowError

LAST = 2**63  # steps fit into an int64


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl, a torn last line left out; raises MeasureflowError where another line is damaged."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise MeasureflowError(f"{path}: cannot be read ({error})") from None
    return [_row(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]


def _row(line: str, where: str) -> dict[str, float]:
    """A row: numbers by name, among them a step and the seconds since the start."""
    try:
        row: Any = json.loads(line)
        for value in row.values():
            float(value)  # raises for an integer beyond the floats
        numbers = all(type(value) in (int, float) for value in row.values())
        if numbers and type(row["step"]) is int and 0 <= row["step"] < LAST and math.isfinite(row["seconds"]):
            return dict(row)
    except (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError):
        pass
    raise MeasureflowError(f"{where} is damaged; remove it to go on")
