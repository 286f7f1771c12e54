"""[search]: what each dotted key may be."""

from collections.abc import Mapping
from typing import Any, final

import attrs

from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.errors import ConfigError
from measureflow.plugins.registry import Registry
from measureflow_tools.sweeps.tables import check, flat, misled


@final
@attrs.frozen
class Range:
    """Numbers from `low` to `high`, whole ones where both are, `log` for the scale; or one of `choices`."""

    low: Any = None
    high: Any = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def __attrs_post_init__(self) -> None:
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (self.low, self.high))
        if self.choices and (self.low, self.high, self.log) == (None, None, False):
            return
        if self.choices or not numbers or not self.low < self.high:
            raise ValueError("give {low = 1.0, high = 100.0}, low below high and log = true if wanted, or {choices = [...]}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low}: must be above 0 on a log scale")

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check an experiment with, before any is drawn."""
        return self.choices or (self.low, self.high)

    def has(self, value: Any) -> bool:
        """Whether a value of the config is one of these."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value in self.choices if self.choices else number and self.low <= value <= self.high

    def distribution(self, optuna: Any) -> Any:
        """As optuna has it; a choice by its index, since optuna takes no tables."""
        if self.choices:
            return optuna.distributions.CategoricalDistribution(list(range(len(self.choices))))
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
        return kind(self.low, self.high, log=self.log)

    def value(self, drawn: Any) -> Any:
        """What the config gets for what optuna drew."""
        return self.choices[drawn] if self.choices else drawn

    def drawn(self, value: Any) -> Any:
        """What optuna drew for a value of the config."""
        return self.choices.index(value) if self.choices else value


@final
@attrs.frozen
class _Table:
    """The file as this command reads it, so that problems have their whole path."""

    search: dict[str, Range]


def ranges(own: Raw, tables: Raw, registry: Registry, where: str) -> dict[str, Range]:
    """The table `own` of an experiment, by dotted key; raises ConfigError with every problem, of the values at the ends too."""
    paths = flat(own, lambda value: not isinstance(value, Mapping) or not value or bool({"low", "high", "choices"} & value.keys()))
    found = config.structure({"search": paths}, _Table, registry, where).search
    problems = misled(tables, found, "search") or ([] if found else ["search: is empty; give a range for at least one dotted key"])
    if problems:
        raise ConfigError(where, problems)
    first = {path: each.ends[0] for path, each in found.items()}
    tried = {f"{path} = {end}": config.changes(tables, {**first, path: end}) for path, each in found.items() for end in each.ends}
    check(tried, registry, where)
    return found
