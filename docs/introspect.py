"""What the docs read off classes and functions, as markdown: signatures, types, docstrings, what a class declares."""

import ast
import functools
import inspect
import itertools
import re
import textwrap
import typing
from typing import Any, ClassVar

COMMON = {"kind": "The name under which a config asks for it."}
SKIPPED = {"family"}  # set by the base class, the same for all


def signature(it: Any, skip: int = 0) -> str:
    """The signature of a callable, in short names."""
    found = inspect.signature(it)
    return plain(str(found.replace(parameters=list(found.parameters.values())[skip:])))


def plain(text: str) -> str:
    """Types without the modules that they come from, except torch.dtype and torch.device; defaults that are objects as `...`."""
    text = re.sub(r"<function .*? at 0x\w+>|<factory>|NOTHING", "...", text)
    return re.sub(r"\b(?!torch\.d)(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", text)


def annotation(cls: type, name: str) -> str:
    """The type of an attribute or a property; empty if it is not said."""
    static = inspect.getattr_static(cls, name, None)
    if isinstance(static, property) or hasattr(static, "func"):
        inner = static.fget if isinstance(static, property) else static.func
        return plain(inspect.formatannotation(inspect.signature(inner).return_annotation)).strip("'")
    for base in cls.__mro__:
        found = inspect.get_annotations(base).get(name)
        if found is not None:
            inside = typing.get_args(found) if typing.get_origin(found) is ClassVar else (found,)
            return plain(inspect.formatannotation(inside[0])).strip("'")
    return ""


def default_of(cls: type, name: str) -> str | None:
    """The value of a class attribute, if it has one that can be written."""
    value = inspect.getattr_static(cls, name, None)
    return repr(value) if isinstance(value, bool | int | float | str | tuple) and name in class_attributes(cls) else None


def class_attributes(cls: type) -> list[str]:
    """Names of what a class declares for its subclasses with `ClassVar`."""
    declared = inspect.get_annotations(cls)
    return [name for name, t in declared.items() if typing.get_origin(t) is ClassVar and name not in SKIPPED]


def described(cls: type, name: str) -> str:
    """The docstring of a member: of a method or a property its own, of an attribute the string below it; or an inherited one."""
    for base in cls.__mro__:
        it = vars(base).get(name)
        written = inspect.isroutine(it) or isinstance(it, property | classmethod | staticmethod | functools.cached_property)
        text = attribute_docs(base).get(name) or (it.__doc__ if written else None)
        if text:
            return inspect.cleandoc(text)
    return COMMON.get(name, "")


def attribute_docs(cls: type) -> dict[str, str]:
    """The strings that stand below the attributes of a class, by the attribute."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, IndentationError):
        return {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    return {
        above.target.id: inspect.cleandoc(below.value.value)
        for above, below in itertools.pairwise(body)
        if isinstance(above, ast.AnnAssign)
        and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def prose(it: Any) -> str:
    """A docstring as markdown."""
    return escaped(inspect.getdoc(it) or "") + "\n\n"


def sentence(it: Any) -> str:
    """The first paragraph of a docstring, on one line, for a cell of a table."""
    return cell(inspect.getdoc(it) or "")


def cell(text: str) -> str:
    """The first paragraph of a text on one line, for a cell of a table."""
    return escaped(" ".join(text.split("\n\n")[0].split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """Text in which markdown finds no marks of its own outside `code`."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_<\[\]$~#])", r"\\\1", part) for part in parts)
