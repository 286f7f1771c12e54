"""What every component promises, whatever its family: data, documented, read back as it was written."""

import tomllib
from collections.abc import Iterator
from typing import Any

import attrs
import pluggy

from measureflow.config import structure as config
from measureflow.plugins.registry import FAMILIES, GROUP, Registry
from measureflow.testing.promise import Found, Promise, holds, promise
from measureflow.testing.trial import Trial

LONGEST = 1000  # characters of a repr, which error messages contain; a planted teacher with all its numbers has some hundreds


@promise("decorate the class with @final and @attrs.frozen")
def frozen_and_final(component: Any, trial: Trial) -> Found:
    """The class is a final frozen attrs class."""
    cls = type(component)
    yield holds(f"{cls.__name__} is not frozen", attrs.inspect(cls).is_frozen)
    yield holds(f"{cls.__name__} is not marked @final", bool(cls.__dict__.get("__final__", False)))


@promise("write `kind: ClassVar[str] = ...` and a docstring into the class itself")
def named_and_documented(component: Any, trial: Trial) -> Found:
    """The class has a kind, and a docstring of its own."""
    cls = type(component)
    yield holds(f"{cls.__name__} has no kind", bool(getattr(cls, "kind", "")) and isinstance(cls.kind, str))
    yield holds(f"{cls.__name__} has no docstring", bool((cls.__dict__.get("__doc__") or "").strip()))


@promise("give each field a type that TOML can write: a number, a string, a tuple, a dict, a component, an attrs class")
def config_round_trip(component: Any, trial: Trial) -> Found:
    """Written as TOML and read again, it is the same component."""
    again = rebuilt(component)
    yield holds(f"{again!r} came back", again == component)


@promise("keep tensors and large tables out of the fields, or give them repr=False")
def short_repr(component: Any, trial: Trial) -> Found:
    """Its repr fits into an error message and shows no tensor."""
    said = repr(component)
    yield holds(f"its repr has {len(said)} characters, more than {LONGEST}", len(said) <= LONGEST)
    yield holds("its repr shows a tensor", "tensor(" not in said)


def rebuilt(component: Any) -> Any:
    """The component, written as TOML and read again: equal to it, and sharing nothing with it."""
    written = config.dumps({"component": config.unstructure(component)})
    found = {(each.family, each.kind): type(each) for each in parts(component)}
    known = Registry(pluggy.PluginManager(GROUP), {}, found, {}, {}, {})
    return config.structure(tomllib.loads(written)["component"], FAMILIES[component.family], known, "component")


def parts(value: Any) -> Iterator[Any]:
    """Every component in a value, the value itself among them."""
    if isinstance(value, tuple(FAMILIES.values())):
        yield value
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from parts(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from parts(each)


PROMISES: tuple[Promise, ...] = (frozen_and_final, named_and_documented, config_round_trip, short_repr)
