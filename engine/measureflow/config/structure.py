"""TOML <-> attrs: component classes are the config classes, and every problem is reported at once, with its path."""

import functools
import inspect
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs
import cattrs
import tomli_w
from cattrs.errors import AttributeValidationNote, ClassValidationError, IterableValidationNote

from measureflow.core.schedule import Constant, Schedule
from measureflow.errors import CONTROL, ConfigError, MeasureflowError, unknown
from measureflow.observe.observer import Every, Probe, Watch
from measureflow.opening import read_text
from measureflow.plugins.registry import FAMILIES, Registry

T = TypeVar("T")
Raw = dict[str, Any]
DEEPEST = 64  # tables and lists within one another
KEY = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+"""
DOTTED = re.compile(rf"(?<![A-Za-z0-9_.-])(?:{KEY}\.[ \t]*+){{{DEEPEST}}}")  # tomllib takes the square of its length for such a key
SCALARS: Mapping[Any, str] = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}


def read(path: Path) -> Raw:
    """The tables of a TOML file; raises ConfigError where it is missing or malformed."""
    try:
        return _parsed(read_text(path))
    except FileNotFoundError:
        raise ConfigError(str(path), ["no such file; docs/examples has files to start from"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(str(path), [f"not TOML: {error}"]) from None


def _parsed(text: str) -> Raw:
    """TOML whose tables and lists are not nested without bound; raises ValueError or RecursionError."""
    if DOTTED.search(text):
        raise ValueError(f"a dotted key has more than {DEEPEST} parts")
    raw: Raw = tomllib.loads(text)
    level: list[Any] = [raw]
    for _ in range(DEEPEST):
        level = [inner for node in level for inner in (node.values() if isinstance(node, Mapping) else node)]
        level = [inner for inner in level if isinstance(inner, Mapping | list)]
    if level:
        raise ValueError(f"tables and lists are nested more than {DEEPEST} deep")
    return raw


def override(raw: Raw, setting: str) -> Raw:
    """`raw` with `dotted.path=value` changed, the value written as in TOML, or bare for a string; raises ConfigError."""
    path, equals, text = setting.partition("=")
    if not equals or not path.strip():
        raise ConfigError("--set", [f"{setting!r}: write path=value, as in measures.gamma.flows.0.rate=5"])
    if "\n" in setting or "\r" in setting:
        raise ConfigError("--set", [f"{setting!r}: holds a line break; give each setting by a --set of its own"])
    try:
        value = _parsed(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    try:
        return change(raw, path.strip(), value)
    except MeasureflowError as error:
        raise ConfigError("--set", [f"{setting!r}: {error}"]) from None


def change(raw: Raw, path: str, value: Any) -> Raw:
    """`raw` with the value at a dotted path changed; raises MeasureflowError where the path leads nowhere."""
    keys = path.split(".")
    if len(keys) > DEEPEST:
        raise MeasureflowError(f"the path has {len(keys)} keys, and {DEEPEST} are the most")
    if not all(keys):
        raise MeasureflowError(f"{path!r} is no path: keys are joined by single dots, as in measures.gamma.flows.0.rate")
    changed: Raw = _changed(raw, keys, value)
    return changed


def changes(raw: Raw, settings: Mapping[str, Any]) -> Raw:
    """`raw` with the values at dotted paths changed, one after another; raises MeasureflowError as `change` does."""
    return functools.reduce(lambda tables, setting: change(tables, *setting), settings.items(), raw)


def _changed(node: Any, keys: Sequence[str], value: Any) -> Any:
    if not keys:
        return value
    key, rest = keys[0], keys[1:]
    if isinstance(node, Mapping):
        return {**node, key: _changed(node.get(key, {}), rest, value)}
    if isinstance(node, list) and key.isascii() and key.isdigit() and int(key) < len(node):
        return [_changed(item, rest, value) if i == int(key) else item for i, item in enumerate(node)]
    there = (
        f"a list of {len(node)} (use 0 to {len(node) - 1}; to add one, give the whole list)"
        if isinstance(node, list)
        else f"the value {node!r}"
    )
    raise MeasureflowError(f"{key!r} does not lead anywhere: here is {there}")


def structure(raw: Any, cls: type[T], registry: Registry, where: str) -> T:
    """`raw` as an instance of `cls`; raises ConfigError that lists every problem with its path."""
    try:
        return converter(registry).structure(raw, cls)
    except SystemExit as error:
        raise ConfigError(where, [f"a component ended the program (sys.exit({error.code!r})) when it was made"]) from error
    except Exception as error:
        raise ConfigError(where, list(_problems(error, ()))) from None


def unstructure(value: Any) -> Any:
    """The tables and numbers that `structure` would read back; fields that are None are left out."""
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Probe):
        return {**unstructure(value.metric), "every": value.every.k}
    if isinstance(value, Watch):
        return {**unstructure(value.observer), "every": value.every.k}
    if attrs.has(type(value)):
        fields = {a.alias: unstructure(getattr(value, a.name)) for a in attrs.fields(type(value))}
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return kind | {name: field for name, field in fields.items() if field is not None}
    if isinstance(value, Mapping):
        return {str(key): unstructure(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [unstructure(item) for item in value]
    if callable(value):
        raise MeasureflowError(f"{value!r:.60} cannot be written into a config, as a run folder needs; use `simulate` instead")
    return value


def dumps(raw: Raw) -> str:
    """`raw` as TOML."""
    return tomli_w.dumps(raw)


def converter(registry: Registry) -> cattrs.Converter:
    """A converter that knows the registry's kinds and takes nothing for what it is not."""
    c = cattrs.Converter(detailed_validation=True)
    for kind in SCALARS:
        c.register_structure_hook(kind, _scalar(kind))
    c.register_structure_hook_func(_is_literal, _literal)
    c.register_structure_hook_func(_is_table, lambda value, t: _table(c, value, t))
    c.register_structure_hook_func(_is_list, lambda value, t: _list(c, value, t))
    c.register_structure_hook_func(_is_component, lambda value, t: _component(c, registry, value, t))
    c.register_structure_hook_func(_is_config, lambda value, t: _attributes(c, value, t))
    c.register_structure_hook(Probe, lambda value, _: Probe(*_triggered(c, registry, value, FAMILIES["metric"])))
    c.register_structure_hook(Watch, lambda value, _: Watch(*_triggered(c, registry, value, FAMILIES["observer"])))
    return c


def _is_component(t: Any) -> bool:
    return t in FAMILIES.values() if inspect.isclass(t) else False


def _is_config(t: Any) -> bool:
    return inspect.isclass(t) and attrs.has(t)


def _is_literal(t: Any) -> bool:
    origin: Any = typing.get_origin(t)
    return origin is Literal


def _is_list(t: Any) -> bool:
    return isinstance(t, types.GenericAlias) and t.__origin__ is tuple


def _is_table(t: Any) -> bool:
    return isinstance(t, types.GenericAlias) and t.__origin__ is dict


def _wanted(t: Any) -> str:
    """What a value of type `t` looks like in a config."""
    if t is Schedule:
        return "a number or a schedule (a table with a kind)"
    if _is_component(t):
        return f"{'an' if t.family[0] in 'aeiou' else 'a'} {t.family}: a table with a kind"
    if t in SCALARS:
        return SCALARS[t]
    return "a list" if _is_list(t) else "a table" if _is_table(t) or _is_config(t) else "a value"


def _scalar(kind: type) -> Any:
    def hook(value: Any, _: Any) -> Any:
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"expected {SCALARS[kind]}, got {value!r}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"must be a finite number, got {value!r}")
        if isinstance(value, str) and CONTROL.search(value):
            raise ValueError(f"must have no control characters, got {value!r}")
        return value

    return hook


def _literal(value: Any, t: Any) -> Any:
    if value not in typing.get_args(t):
        raise ValueError(unknown("choice", value, [str(choice) for choice in typing.get_args(t)]))
    return value


def _list(c: cattrs.Converter, value: Any, t: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise TypeError(f"expected a list, got {value!r}")
    return tuple(_each(c, enumerate(value), typing.get_args(t)[0]).values())


def _table(c: cattrs.Converter, value: Any, t: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a table, got {value!r}")
    if any(CONTROL.search(str(key)) for key in value):
        raise ValueError(f"names must have no control characters, got {list(value)!r}")
    return _each(c, value.items(), typing.get_args(t)[1])


def _each(c: cattrs.Converter, entries: Iterable[tuple[Any, Any]], item: Any) -> dict[Any, Any]:
    """Every entry by its index or key, each structured by itself."""
    out, errors = {}, []
    for index, entry in entries:
        try:
            out[index] = c.structure(entry, item)
        except Exception as error:
            errors.append(_noted(error, IterableValidationNote(str(index), index, item)))
    if errors:
        raise ClassValidationError("entries", errors, dict)
    return out


def _component(c: cattrs.Converter, registry: Registry, value: Any, base: Any, also: tuple[str, ...] = ()) -> Any:
    """A table with a `kind`, a bare kind, or, for a schedule, a number."""
    if base is Schedule and isinstance(value, int | float):
        return Constant(c.structure(value, float))
    if isinstance(value, str) and base is not Schedule:
        value = {"kind": value}
    if not isinstance(value, Mapping):
        raise TypeError(f"expected {_wanted(base)}, got {value!r}")
    if "kind" not in value:
        raise ValueError(f"a {base.family} needs a kind; known: {', '.join(registry.kinds(base.family))}")
    cls = registry.get(base.family, value["kind"])
    return _attributes(c, {key: entry for key, entry in value.items() if key != "kind"}, cls, also)


def _attributes(c: cattrs.Converter, value: Any, cls: Any, also: tuple[str, ...] = ()) -> Any:
    """An attrs class from a table: each field is structured and validated by itself, so that no problem hides another."""
    if not isinstance(value, Mapping):
        raise TypeError(f"expected a table, got {value!r}")
    fields = {a.alias: a for a in attrs.fields(attrs.resolve_types(cls)) if a.init}
    errors: list[Exception] = []
    known: dict[str, Any] = {}
    for key in value:
        if key not in fields:
            errors.append(_noted(ValueError(unknown("key", key, [*fields, *also])), AttributeValidationNote(key, key, None)))
    for name, a in fields.items():
        if name in value:
            try:
                item = c.structure(value[name], writable(a.type)) if a.type not in (Any, object) else value[name]
                item = a.converter(item) if callable(a.converter) else item
                if a.validator:
                    a.validator(None, a, item)
                known[name] = item
            except Exception as error:
                errors.append(_noted(error, AttributeValidationNote(name, name, a.type)))
        elif a.default is attrs.NOTHING:
            errors.append(_noted(ValueError(f"is missing; give {_wanted(a.type)}"), AttributeValidationNote(name, name, a.type)))
    if errors:
        raise ClassValidationError(cls.__name__, errors, cls)
    return cls(**known)


def writable(t: Any) -> Any:
    """The part of a field's type that a config can write: a function can be given in Python only."""
    parts = typing.get_args(t) if isinstance(t, types.UnionType) or typing.get_origin(t) is typing.Union else ()
    written = tuple(part for part in parts if typing.get_origin(part) is not Callable)
    return typing.Union[written] if len(written) < len(parts) else t  # noqa: UP007


def _triggered(c: cattrs.Converter, registry: Registry, value: Any, base: Any) -> tuple[Any, Every]:
    """A component and its trigger, written in one table."""
    table = {"kind": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping):
        raise TypeError(f"expected {_wanted(base)}, got {value!r}")
    own = {key: entry for key, entry in table.items() if key != "every"}
    trigger = {key: entry for key, entry in table.items() if key == "every"}
    parts, errors = [], []
    for part in (lambda: _component(c, registry, own, base, ("every",)), lambda: c.structure(trigger, Every)):
        try:
            parts.append(part())
        except Exception as error:
            errors.append(error)
    if errors:
        raise ClassValidationError(base.family, errors, base)
    return parts[0], parts[1]


def _noted(error: Exception, note: Any) -> Exception:
    error.__notes__ = [*getattr(error, "__notes__", []), note]
    return error


def _problems(error: BaseException, path: tuple[str, ...]) -> Iterator[str]:
    """`path: message` for every leaf of a tree of errors, the path read off the notes."""
    notes = [n for n in getattr(error, "__notes__", []) if isinstance(n, AttributeValidationNote | IterableValidationNote)]
    path = path + tuple(str(n.name if isinstance(n, AttributeValidationNote) else n.index) for n in reversed(notes))
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _problems(inner, path)
    else:
        message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        yield f"{'.'.join(path) or 'file'}: {message}"
