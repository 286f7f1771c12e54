"""Measured times of sums, and the cost model fitted to them."""

import functools
import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from measureflow.errors import MeasureflowError
from measureflow.opening import read_text
from measureflow.reduction.reducer import Request
from measureflow.run.atomic import write

Key = tuple[str, ...]
ENOUGH = 5  # measured points that a fit of four numbers needs


@final
@attrs.frozen
class Row:
    """One measurement: `seconds` that a candidate took for a request's sums."""

    device: str
    dtype: str
    profile: str
    what: str
    candidate: str
    n_out: int
    n_in: int
    width: int
    seconds: float

    @property
    def kind(self) -> Key:
        """What ways to sum are compared for."""
        return self.device, self.dtype, self.profile, self.what

    @classmethod
    def of(cls, request: Request, candidate: str, seconds: float) -> "Row":
        return cls(*_key(request), candidate, request.n_out, request.n_in, request.width, seconds)


@final
@attrs.frozen(eq=False)
class Costs:
    """Seconds = c0 + c1 n m + c2 n m d + c3 (n + m) d for each candidate, device, dtype, profile, kind of sum and orientation.

    n outputs, m inputs, d the width; all c >= 0, fitted by least squares of the relative error. `facts` says where and with
    what the rows were measured, `first` how many seconds a candidate's first use of a formula takes.
    """

    rows: tuple[Row, ...]
    facts: Mapping[str, Any]
    first: Mapping[str, float]

    def predict(self, request: Request, candidate: str) -> float | None:
        """Seconds, or None where nothing like it was measured."""
        coefficients = self._fits.get((*_key(request), candidate, _way(request.n_out, request.n_in)))
        if coefficients is None:
            return None
        return float(_terms(request.n_out, request.n_in, request.width) @ coefficients)

    def measured_on(self, device: str) -> bool:
        """Whether any row is of "cpu" or "cuda"."""
        return any(row.device == device for row in self.rows)

    def over(self, older: "Costs") -> "Costs":
        """These costs, and the older ones of the kinds of sums that these say nothing of: times of two tables are never mixed."""
        known = {row.kind for row in self.rows}
        kept = tuple(row for row in older.rows if row.kind not in known)
        return Costs(kept + self.rows, self.facts, {**older.first, **self.first})

    @functools.cached_property
    def _fits(self) -> Mapping[Key, np.ndarray]:
        groups: dict[Key, list[Row]] = {}
        for row in self.rows:
            key = (row.device, row.dtype, row.profile, row.what, row.candidate, _way(row.n_out, row.n_in))
            groups.setdefault(key, []).append(row)
        return {key: _fitted(rows) for key, rows in groups.items() if len(rows) >= ENOUGH}


def what(request: Request) -> str:
    """The kind of sum: "sums GRAD", say."""
    return f"{request.op} {request.need.name}"


def _key(request: Request) -> tuple[str, str, str, str]:
    return request.device.type, str(request.dtype).removeprefix("torch."), request.profile, what(request)


def _way(n: int, m: int) -> str:
    return "tall" if n >= m else "wide"


def _terms(n: int, m: int, d: int) -> np.ndarray:
    return np.array([1.0, n * m, n * m * d, (n + m) * d])


def _fitted(rows: Iterable[Row]) -> np.ndarray:
    """Least squares of the relative error with all coefficients >= 0: the best of the sets of terms that give such ones."""
    matrix = np.array([_terms(row.n_out, row.n_in, row.width) / row.seconds for row in rows])
    best, least = np.zeros(4), np.inf
    for kept in itertools.chain.from_iterable(itertools.combinations(range(4), k) for k in range(1, 5)):
        found, *_ = np.linalg.lstsq(matrix[:, kept], np.ones(len(matrix)), rcond=None)
        error = float(np.square(matrix[:, kept] @ found - 1).sum())
        if (found >= 0).all() and error < least:
            best, least = np.zeros(4), error
            best[list(kept)] = found
    return best


def read(path: Path) -> Costs:
    """A table of costs; raises MeasureflowError where the file is none."""
    try:
        raw = json.loads(read_text(path))
        rows = tuple(Row(*row) for row in raw["rows"])
        return Costs(rows, dict(raw["facts"]), dict(raw["first"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise MeasureflowError(f"{path}: no table of costs ({error}); delete it, or measure it anew: measureflow tune") from None


def save(costs: Costs, path: Path) -> None:
    """Writes a table of costs, one row a line, times to four digits."""
    rounded = (attrs.evolve(row, seconds=float(f"{row.seconds:.4g}")) for row in costs.rows)
    rows = ",\n".join(json.dumps(attrs.astuple(row)) for row in rounded)
    head = json.dumps({"facts": costs.facts, "first": costs.first}, indent=1).removesuffix("\n}")
    write(path, f'{head},\n "rows": [\n{rows}\n]}}\n'.encode())
