"""A config with a table of its own for a command: the table apart, and the experiment that is left."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from measureflow.api import MeasureflowError, from_tables
from measureflow.config import structure as config
from measureflow.config.structure import Raw
from measureflow.errors import ConfigError
from measureflow.opening import read_text
from measureflow.plugins.registry import Registry


def split(file: Path, settings: Sequence[str], name: str) -> tuple[Raw, Raw, str]:
    """The table [name] of a file, the other tables, and the text as given; raises ConfigError where there is no such table."""
    raw = functools.reduce(config.override, settings, config.read(file))
    if not isinstance(raw.get(name), Mapping):
        raise ConfigError(str(file), [f"{name}: is missing; write a table [{name}], as the files in docs/sweeps do"])
    text = read_text(file) + "".join(f"# --set {setting}\n" for setting in settings)
    return dict(raw[name]), {key: value for key, value in raw.items() if key != name}, text


def flat(table: Any, leaf: Callable[[Any], bool], path: str = "") -> Any:
    """Tables within tables as one table by dotted path, so that paths need no quotes; what is no table stays as it is."""
    if not isinstance(table, Mapping):
        return table
    found: Raw = {}
    for key, value in table.items():
        found |= {path + key: value} if leaf(value) else flat(value, leaf, f"{path}{key}.")
    return found


def misled(tables: Raw, paths: Iterable[str], where: str) -> list[str]:
    """A problem for every dotted path that leads nowhere in `tables`."""
    problems = []
    for path in paths:
        try:
            config.change(tables, path, 0)
        except MeasureflowError as error:
            problems.append(f"{where}.{path}: {error}")
    return problems


def check(tried: Mapping[str, Raw], registry: Registry, where: str) -> None:
    """Validates experiments by name; raises ConfigError with every problem of any, said once and by the first who has it."""
    owners: dict[str, list[str]] = {}
    for name, tables in tried.items():
        try:
            from_tables(tables, registry)
        except ConfigError as error:
            for problem in error.problems:
                owners.setdefault(problem, []).append(name)
    if owners:
        raise ConfigError(where, [f"{problem} ({_whose(names)})" for problem, names in owners.items()])


def _whose(names: Sequence[str]) -> str:
    return f"in {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
