"""What a check found: a row for each promise, and how far each thing was from what was promised."""

import math
from collections.abc import Iterable
from typing import Literal, final

import attrs

State = Literal["kept", "broken", "not applicable"]
ORDER: tuple[State, ...] = ("broken", "kept", "not applicable")  # what a row of several trials says: the first of its states


@final
@attrs.frozen
class Gap:
    """How far `what` is off, and how far it may be; a yes or no is off by 0 or by infinity."""

    what: str
    off: float
    allowed: float

    @property
    def kept(self) -> bool:
        """False for NaN, too."""
        return self.off <= self.allowed

    def __str__(self) -> str:
        return self.what if math.isinf(self.off) else f"{self.what}: off by {self.off:.3g} where {self.allowed:.3g} is allowed"


@final
@attrs.frozen
class Row:
    """One promise: its name, whether it was kept, by how much or why not, what it states, and what to do where it is broken."""

    promise: str
    state: State
    detail: str
    statement: str
    hint: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail} ({self.statement[0].lower()}{self.statement[1:].rstrip('.')}; {self.hint})"


@final
@attrs.frozen
class Report:
    """What the check of one component found; prints as a table."""

    component: str
    rows: tuple[Row, ...]

    @property
    def broken(self) -> tuple[Row, ...]:
        """The rows of the promises that are not kept."""
        return self.of("broken")

    @property
    def ok(self) -> bool:
        """Whether no promise is broken."""
        return not self.broken

    def of(self, state: State) -> tuple[Row, ...]:
        """The rows of one state."""
        return tuple(row for row in self.rows if row.state == state)

    def raise_if_broken(self) -> "Report":
        """This report; raises AssertionError that lists every broken promise."""
        if not self.ok:
            lines = "\n".join(f"  {row}" for row in self.broken)
            raise AssertionError(f"{self.component} breaks {len(self.broken)} promise(s):\n{lines}")
        return self

    def __str__(self) -> str:
        name, state = (max(len(getattr(row, field)) for row in self.rows) for field in ("promise", "state"))
        lines = [f"{row.promise:<{name}}  {row.state:<{state}}  {row.detail}".rstrip() for row in self.rows]
        return "\n".join([self.component, *(f"  {line}" for line in lines)])


def worst(rows: Iterable[Row]) -> Row:
    """The row of a promise tried in several places: broken where it is anywhere, kept where it applies anywhere."""
    return min(rows, key=lambda row: ORDER.index(row.state))
