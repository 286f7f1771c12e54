"""Examples of components in TOML: what a check that only knows a kind makes the component of, and where it tries it.

A file has a list of tables for each family, `flow = [{kind = "langevin", temperature = 0.5}]`. Keys that start with an underscore
say how it is tried: `_on`, the only space it is defined on (a domain's kind, or {domain = ..., dim = ...}), `_in`, keys of the
experiment it is tried in, and `_signed`, `_keeps`, `_tv`, `_order`, `_law`, `_counts`, `_sizes`, the fields of `Trial`. A path in
a component is taken from the folder of the file.
"""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final, get_args

import attrs

from measureflow.config import structure as config
from measureflow.core.domain import Space
from measureflow.errors import ConfigError, unknown
from measureflow.plugins.registry import FAMILIES, Registry
from measureflow.testing.check import USUAL, check
from measureflow.testing.report import Report
from measureflow.testing.trial import Kept

OPTIONS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "signed": ((bool,), "true or false"),
    "keeps": ((str,), f"one of {', '.join(get_args(Kept))}"),
    "tv": ((int, float), "a number"),
    "order": ((int,), "a whole number"),
    "law": ((int, float), "a temperature above 0"),
    "counts": ((list,), "a list of names"),
    "sizes": ((list,), "two whole numbers, [points, atoms]"),
    "on": ((str, dict), "the kind of a domain, or {domain = ..., dim = ...}"),
    "in": ((dict,), "a table of the experiment's keys"),
}


@final
@attrs.frozen
class Example:
    """A component's own table, how it is tried, and the folder that its paths are taken from."""

    family: str
    own: Mapping[str, Any]
    how: Mapping[str, Any]
    folder: Path

    @property
    def key(self) -> tuple[str, str]:
        """Family and kind."""
        return (self.family, str(self.own.get("kind")))

    def __str__(self) -> str:
        return " ".join([self.family, *(str(value) for value in self.own.values())])

    def component(self, registry: Registry) -> Any:
        """The component itself; raises ConfigError with every problem."""
        return config.structure(dict(self.own), FAMILIES[self.family], registry, str(self))

    def check(self, registry: Registry, keops: bool = False) -> Report:
        """Tries every promise of it."""
        options = {name: value for name, value in self.how.items() if name not in ("on", "in")}
        options |= {name: tuple(options[name]) for name in ("sizes", "counts") if name in options}
        if "in" in self.how:
            options["tables"] = self.how["in"]
        with contextlib.chdir(self.folder):
            component = self.component(registry)
            return check(component, self.space(registry), registry=registry, keops=keops, **options)

    def space(self, registry: Registry) -> Space | None:
        """The space that `_on` names; None where there is no such key. Raises ConfigError."""
        on = self.how.get("on")
        if on is None:
            return None
        table = on if isinstance(on, Mapping) else USUAL.get(on, {"domain": on, "dim": 3})
        return config.structure(dict(table), Space, registry, f"{self}: _on")


def read(path: Path) -> list[Example]:
    """The examples in a file, or in every .toml file of a folder; raises ConfigError."""
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(str(path), ["no .toml file in this folder"])
    return [example for file in files for example in _read(file)]


def _read(file: Path) -> list[Example]:
    raw, problems, found = config.read(file), [], []
    for family, tables in raw.items():
        if family not in FAMILIES:
            problems.append(unknown("family", family, FAMILIES))
            continue
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            problems.append(f'{family}: expected a list of tables, as in {family} = [{{kind = "..."}}]')
            continue
        for table in tables:
            own = {key: value for key, value in table.items() if not key.startswith("_")}
            how = {key[1:]: value for key, value in table.items() if key.startswith("_")}
            problems += [f"{family}: {unknown('key', f'_{key}', [f'_{o}' for o in OPTIONS])}" for key in how if key not in OPTIONS]
            wrong = [key for key, value in how.items() if not _fits(key, value)]
            problems += [f"{family}: _{key} = {how[key]!r}: give {OPTIONS[key][1]}" for key in wrong]
            found.append(Example(family, own, how, file.resolve().parent))
    if problems:
        raise ConfigError(str(file), problems)
    return found


def _fits(key: str, value: Any) -> bool:
    """Whether an option has a value of its kind; of an unknown one that is said elsewhere."""
    if key not in OPTIONS:
        return True
    if key == "law":
        return type(value) in (int, float) and 0 < value < math.inf
    if key == "keeps":
        return value in get_args(Kept)
    if key == "counts":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if key == "sizes":
        return isinstance(value, list) and len(value) == 2 and all(type(each) is int for each in value)
    return type(value) in OPTIONS[key][0]
