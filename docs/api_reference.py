"""The page of everything that can be imported: signatures, attributes and methods, from the public names and their docstrings."""

import inspect
import typing
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import attrs
from introspect import SKIPPED, annotation, default_of, described, escaped, plain, prose, signature

HEAD = """\
Everything on this page is public: `measureflow.api`, and the conformance tests in `measureflow.testing`. Other modules may be
renamed or changed at any time. The class of a component is `registry.get(family, kind)`, with the `Registry` below; its keys are
in [every key of a config](config.md). How the parts work together: [from Python](../from-python.md).

"""
HEADINGS = ("classes to subclass", "classes to use", "functions", "types")


def api_page(*modules: ModuleType) -> str:
    """Everything in `__all__` of some modules: classes to write, classes to use, functions, and the rest."""
    public = {it for module in modules for it in map(vars(module).get, module.__all__) if inspect.isclass(it)}
    parts = ["# Python API\n\n", HEAD]
    for module in modules:
        parts.append(f"```{{py:currentmodule}} {module.__name__}\n```\n\n## {module.__name__}\n\n{prose(module)}")
        for heading, names in grouped(module):
            parts.append(f"### {module.__name__}: {heading}\n\n")
            parts += [entry(name, getattr(module, name), public) for name in names]
    return "".join(parts)


def grouped(module: ModuleType) -> Iterator[tuple[str, list[str]]]:
    """The public names of a module by what a reader does with them."""
    places: dict[str, list[str]] = {heading: [] for heading in HEADINGS}
    for name in sorted(module.__all__, key=str.lower):
        it = getattr(module, name)
        of = 2 if inspect.isroutine(it) else 3 if not inspect.isclass(it) else 0 if inspect.isabstract(it) else 1
        places[HEADINGS[of]].append(name)
    return ((heading, names) for heading, names in places.items() if names)


def entry(name: str, it: Any, public: set[Any]) -> str:
    """A class with its members, a function, or another thing."""
    if inspect.isclass(it):
        inside = "".join(member(it, each) for each in members(it, public))
        return directive("class", name + constructor(it), [], prose(it) + inside, "::::")
    if inspect.isroutine(it):
        return directive("function", name + signature(it), [], prose(it), "::::")
    return directive("data", name, [], f"`{plain(str(it))}`" if typing.get_origin(it) else prose(type(it)), "::::")


def constructor(cls: type) -> str:
    """The arguments with which a class is called; empty where it is abstract or no class of fields."""
    return signature(cls).removesuffix(" -> None") if attrs.has(cls) and not inspect.isabstract(cls) else ""


def members(cls: type, public: set[Any]) -> list[str]:
    """Names of the attributes and methods of a class that no other class of the page shows for it."""
    own = [base for base in cls.__mro__ if base is cls or (base not in public and base.__module__.startswith("measureflow"))]
    names = dict.fromkeys(name for base in own for name in (*inspect.get_annotations(base), *vars(base)))
    called = any("__call__" in vars(base) for base in own)
    return [name for name in names if not name.startswith("_") and name not in SKIPPED] + ["__call__"] * called


def member(cls: type, name: str) -> str:
    """One attribute or method of a class."""
    static, body = inspect.getattr_static(cls, name, None), escaped(described(cls, name))
    options = ["no-contents-entry"] + ["abstractmethod"] * (name in getattr(cls, "__abstractmethods__", ()))
    if isinstance(static, classmethod | staticmethod):
        return directive("method", name + signature(getattr(cls, name)), [*options, type(static).__name__], body)
    if inspect.isfunction(static):
        return directive("method", name + signature(static, skip=1), options, body)
    typed = [f"type: {annotation(cls, name)}"] if annotation(cls, name) else []
    if isinstance(static, property):
        return directive("property", name, [*options, *typed], body)
    value = default_of(cls, name)
    return directive("attribute", name, ["no-contents-entry", *typed, *([] if value is None else [f"value: {value}"])], body)


def directive(kind: str, head: str, options: list[str], body: str, fence: str = ":::") -> str:
    """An object of Sphinx's Python domain, written in MyST."""
    lines = "".join(f":{option}\n" if ": " in option else f":{option}:\n" for option in options)
    parts = [f"{fence}{{py:{kind}}} {head}\n{lines}", f"\n{body.strip()}\n" if body.strip() else "", f"{fence}\n\n"]
    return "".join(parts)
