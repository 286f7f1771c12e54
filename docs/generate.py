"""Writes what the docs take from the code: reference/*.md whole, and in types/*.md what stands between the two marks.

`python docs/generate.py` rewrites the files; `pages(registry)` gives them without writing, so that a test sees stale ones.
"""

import copy
import inspect
import re
import types
import typing
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

import attrs
import click
from api_reference import api_page
from introspect import cell, class_attributes, default_of, described, prose, sentence

from measureflow import api, testing
from measureflow.cli import cli
from measureflow.config import structure as config
from measureflow.config.experiment import DEFAULTS, Experiment
from measureflow.core.measure import Measure
from measureflow.core.noise import Noise
from measureflow.core.schedule import Schedule
from measureflow.observe.observer import Probe, Watch
from measureflow.plugins.registry import FAMILIES, GROUP, Registry, load
from measureflow.plugins.selection import is_built_in

DOCS = Path(__file__).resolve().parent
TYPES = {**FAMILIES, "measure": Measure, "noise": Noise}
NOTE = "<!-- Written by `python docs/generate.py`: do not edit. -->\n\n"
MARKS = re.compile(r"(<!-- generated from the code -->\n)(.*?)(<!-- end of generated -->\n)", re.DOTALL)
FIXED = {"form", "T"}  # of a feature: its family sets them
WORDS = {int: "integer", float: "number", bool: "true or false", str: "string", Schedule: "number or schedule", Any: "see above"}


def box() -> Registry:
    """The registry of the built-in components and commands, whatever else is installed."""
    return load([point for point in entry_points(group=GROUP) if is_built_in(point)])


def pages(registry: Registry) -> dict[Path, str]:
    """The text of every file that has generated parts."""
    types_ = {DOCS / "types" / f"{name}.md": base for name, base in TYPES.items()}
    return {
        DOCS / "reference" / "config.md": config_page(registry),
        DOCS / "reference" / "cli.md": cli_page(registry),
        DOCS / "reference" / "api.md": ending(NOTE + api_page(api, testing)),
        **{path: type_page(path.read_text(encoding="utf-8"), base, registry) for path, base in types_.items()},
    }


def config_page(registry: Registry) -> str:
    """Every key of an experiment, then every kind of every family with its fields."""
    head = "# Every key of a config\n\nThe first part has the keys of a file, the second each family with its kinds.\n\n"
    parts = [NOTE, head, "## The file\n\n", prose(Experiment), fields(Experiment, DEFAULTS)]
    for family in sorted(FAMILIES):
        parts += [f"## {family}\n\n", f"What it is and how to write one: [{family}](../types/{family}.md).\n\n"]
        for kind in registry.kinds(family):
            cls = registry.get(family, kind)
            parts += [f"### {family} `{kind}`\n\n", prose(cls), fields(cls)]
    return ending("".join(parts))


def fields(cls: Any, defaults: Any = {}) -> str:  # noqa: B006 - read only
    """A table of the keys of a config class, then those of the tables inside it."""
    own = [a for a in attrs.fields(attrs.resolve_types(cls)) if a.init]
    if not own:
        return "No keys besides `kind`.\n\n"
    rows = [f"| `{a.alias}` | {words(config.writable(a.type))} | {default(a, defaults)} |" for a in own]
    table = "| key | takes | default |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
    inner = {t: a.alias for a in own for t in parts_of(config.writable(a.type)) if attrs.has(t) and t not in (Probe, Watch)}
    return table + "".join(f"Each table of `{alias}`: {prose(t)}{fields(t)}" for t, alias in inner.items())


def parts_of(t: Any) -> list[Any]:
    """The classes inside a type such as `tuple[X, ...]`."""
    return [part for each in typing.get_args(t) for part in parts_of(each)] if typing.get_args(t) else [t]


def words(t: Any) -> str:
    """A type, as one would say what to write into a config."""
    origin, inside = typing.get_origin(t), typing.get_args(t)
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in inside)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(each) for each in inside if each is not type(None))
    if origin is tuple:
        return f"list of: {words(inside[0])}"
    if origin is dict:
        return f"table of: {words(inside[1])}"
    if t in (Probe, Watch):
        family = "metric" if t is Probe else "observer"
        return f"[{family}](#{family}), with `every` = integer (1)"
    if t in WORDS:
        return WORDS[t].replace("schedule", "[schedule](#schedule)")
    return f"[{t.family}](#{t.family})" if t in FAMILIES.values() else "table"


def default(a: Any, defaults: Any) -> str:
    """What a key is where it is not given, as a config would say it."""
    if a.alias in defaults:
        value = defaults[a.alias]
    elif a.default is attrs.NOTHING:
        return "**must be given**"
    else:
        value = a.default.factory() if isinstance(a.default, attrs.Factory) else a.default
    if value is None:
        return "none"
    return f"`{inline(config.unstructure(value))}`"


def inline(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(each) for each in value) + "]"
    return config.dumps({"x": value}).strip().removeprefix("x = ")


def cli_page(registry: Registry) -> str:
    """What `--help` says of every command, those that plugins add included."""
    group = copy.copy(cli)
    group.commands = dict(cli.commands)
    registry.add_commands(group)
    context = click.Context(group, info_name="measureflow", terminal_width=100, **group.context_settings)
    helps = "".join(f"## {name}\n\n```text\n{text}\n```\n\n" for name, text in helped(group, context))
    return ending(f"{NOTE}# Every command\n\n{helps}")


def helped(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    """The name and the help of a command, then of those under it."""
    yield context.command_path, command.get_help(context)
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from helped(inner, click.Context(inner, parent=context, info_name=name))


def type_page(text: str, base: Any, registry: Registry) -> str:
    """A page of an abstract type, with what stands between its marks written anew."""
    forms = [cls for cls in vars(inspect.getmodule(base)).values() if abstract(cls) and issubclass(cls, base)]
    made = "\n" + "".join(
        f"`{cls.__name__}`: {prose(cls)}{declared(cls)}" for cls in sorted(forms, key=lambda cls: cls is not base)
    )
    if base in FAMILIES.values():
        rows = [
            f"| [{kind}](../reference/config.md#{base.family}-{kind}) | {sentence(registry.get(base.family, kind))} |"
            for kind in registry.kinds(base.family)
        ]
        made += "In the box:\n\n| kind | what it is |\n|---|---|\n" + "\n".join(rows) + "\n\n"
    return MARKS.sub(lambda found: found[1] + made + found[3], text)


def abstract(cls: Any) -> bool:
    """Whether a thing of a module is a class to be subclassed."""
    return inspect.isclass(cls) and inspect.isabstract(cls)


def declared(cls: Any) -> str:
    """Tables of what a subclass of `cls` must have, and of what it may have instead of a default."""
    must = [f"| `{name}` | {cell(described(cls, name))} |" for name in members(cls) if required(cls, name)]
    may = [
        f"| `{name}` | {value_of(cls, name)} | {cell(described(cls, name))} |"
        for name in members(cls)
        if not required(cls, name) and described(cls, name)
    ]
    heads = {f"| must have ({cls.__name__}) | what it is |\n|---|---|\n": must}
    heads[f"| may have ({cls.__name__}) | default | what it is |\n|---|---|---|\n"] = may
    return "".join(head + "\n".join(rows) + "\n\n" for head, rows in heads.items() if rows)


def members(cls: Any) -> list[str]:
    """Names of what a class leaves to its subclasses: class attributes, properties and methods that are not final."""
    written = [name for name, it in vars(cls).items() if callable(it) or isinstance(it, property)]
    open_ = [name for name in written if not getattr(getattr(vars(cls)[name], "fget", vars(cls)[name]), "__final__", False)]
    names = dict.fromkeys([*class_attributes(cls), *open_])
    return [name for name in names if name not in FIXED and (name == "__call__" or not name.startswith("_"))]


def required(cls: Any, name: str) -> bool:
    """Whether a subclass must say it: it is abstract, or declared without a value."""
    return name in cls.__abstractmethods__ or not hasattr(cls, name)


def value_of(cls: Any, name: str) -> str:
    """The default of a class attribute; empty for a method, whose description says it."""
    value = default_of(cls, name)
    return "" if value is None else f"`{value}`"


def ending(text: str) -> str:
    """Text that ends with one line break."""
    return text.rstrip() + "\n"


if __name__ == "__main__":
    for path, text in pages(box()).items():
        path.write_text(text, encoding="utf-8")
