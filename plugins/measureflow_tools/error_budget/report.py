"""What the meter found, as lines, as a table and as JSON."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import attrs
from rich.table import Table

from measureflow_tools.error_budget.estimates import Estimate


@final
@attrs.frozen
class Metered:
    """One metric: the mean over the seeds of its last value, the values' standard deviation, and each part's share."""

    name: str
    value: float
    seeds_spread: float
    parts: tuple[Estimate, ...]

    @property
    def line(self) -> str:
        """`kl = 0.0123 +- 0.0004 (step) +- 0.0002 (nu); bias of gamma below noise +- 0.0001`."""
        seen = [f"+- {part.amount:.2g} ({part.part})" for part in self.parts if part.amount]
        unseen = [f"; {_unseen(part)}" for part in self.parts if not part.amount or (part.bias is not None and not part.resolved)]
        return " ".join([f"{self.name} = {self.value:.4g}", *seen]) + "".join(unseen)

    @property
    def json(self) -> dict[str, Any]:
        """The same with every number; what is not finite is null."""
        parts = {p.part: attrs.asdict(p, filter=_numbers) | {"resolved": p.resolved, "amount": p.amount} for p in self.parts}
        found: dict[str, Any] = _finite({"value": self.value, "seeds_spread": self.seeds_spread, "parts": parts})
        return found | {"line": self.line}


def _numbers(attribute: Any, value: Any) -> bool:
    return attribute.name != "part" and value is not None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _unseen(e: Estimate) -> str:
    if e.unchanged:
        return f"{e.part}: nothing changed"
    return f"{e.part if e.spread is None else f'bias of {e.part}'} below noise +- {e.noise:.2g}"


def table(found: Sequence[Metered], title: str) -> Table:
    """A row for each metric and part."""
    out = Table("metric", "part", "bias", "spread", title=title)
    for each in found:
        out.add_row(each.name, f"{each.value:.4g}", "", f"{each.seeds_spread:.2g} over seeds", style="bold")
        for part in each.parts:
            out.add_row("", part.part, _bias(part), _with(part.spread, part.spread_error), end_section=part is each.parts[-1])
    return out


def _bias(e: Estimate) -> str:
    if e.unchanged:
        return "nothing changed"
    return f"below noise +- {e.noise:.2g}" if e.bias is not None and not e.resolved else _with(e.bias, e.bias_error, "+")


def _with(value: float | None, error: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.2g} +- {error:.1g}"
