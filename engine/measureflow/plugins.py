"""Plugins: three hooks, the manager that finds them, the registry of what they provide."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, cast, final

import attrs
import click
import pluggy

from measureflow.coupling import Coupling
from measureflow.domain import Domain
from measureflow.errors import PluginError, unknown
from measureflow.feature import Feature
from measureflow.flow import Flow
from measureflow.metric import Metric
from measureflow.observe import Observer
from measureflow.reduce import Chunked, Local, Reducer, Request
from measureflow.schedule import Schedule
from measureflow.scheme import Scheme
from measureflow.source import Init, Source

GROUP = "measureflow"
FAMILIES: Mapping[str, type] = {
    base.family: base for base in (Coupling, Domain, Feature, Flow, Init, Metric, Observer, Reducer, Schedule, Scheme, Source)
}

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The hooks a plugin may implement, each marked with `measureflow.plugins.hookimpl`."""

    @hookspec
    def components(self) -> Iterable[type]:
        """The component classes this plugin provides: final frozen attrs classes with a `kind`."""
        raise NotImplementedError

    @hookspec(firstresult=True)
    def pick_reducer(self, request: Request) -> Local | None:
        """The reducer to use for this request under `reducer = "auto"`, or None to leave it to others."""

    @hookspec
    def add_commands(self, cli: click.Group) -> None:
        """Adds commands to the command line."""


@final
@attrs.frozen(eq=False)
class Registry:
    """Every component by family and kind, where each came from, and the plugins that could not be loaded."""

    manager: pluggy.PluginManager
    components: Mapping[tuple[str, str], type]
    origins: Mapping[tuple[str, str], str]
    broken: Mapping[str, str]

    def kinds(self, family: str) -> list[str]:
        """The kinds known in a family, sorted."""
        return sorted(kind for known, kind in self.components if known == family)

    def get(self, family: str, kind: object) -> type:
        """The class of that kind; raises KeyError with the kinds that exist and the plugins that failed."""
        found = self.components.get((family, kind)) if isinstance(kind, str) else None
        if found is None:
            failed = "".join(f"; plugin {name} failed to load ({why})" for name, why in self.broken.items())
            raise KeyError(unknown(family, kind, self.kinds(family)) + failed)
        return found

    def pick_reducer(self, request: Request) -> Local:
        """The first reducer a plugin picks for the request, or the chunked one."""
        return self.manager.hook.pick_reducer(request=request) or Chunked()


def load(points: Iterable[EntryPoint] | None = None) -> Registry:
    """Imports every installed plugin and collects what it provides; raises PluginError where two sides clash."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    origin, broken = _register(manager, entry_points(group=GROUP) if points is None else points)
    components: dict[tuple[str, str], type] = {}
    origins: dict[tuple[str, str], str] = {}
    for implementation in manager.hook.components.get_hookimpls():
        side = origin[implementation.plugin_name]
        try:
            provided: list[Any] = list(cast("Iterable[Any]", implementation.function()))
        except Exception as error:
            broken[side] = f"its hook 'components' raised {type(error).__name__}: {error}"
            continue
        for cls in provided:
            key = _checked(cls, side)
            if key in components:
                raise PluginError(
                    f"{key[0]} {key[1]!r} is provided twice: by {origins[key]} and by {side}; uninstall one or rename its kind"
                )
            components[key], origins[key] = cls, side
    return Registry(manager, components, origins, broken)


def _register(manager: pluggy.PluginManager, points: Iterable[EntryPoint]) -> tuple[dict[str, str], dict[str, str]]:
    """Registers each entry point under its name; returns where each came from, and why some failed."""
    origin: dict[str, str] = {}
    broken: dict[str, str] = {}
    for point in sorted(points, key=lambda point: (point.name != "builtin", point.name)):
        side = f"{point.name} ({point.dist.name} {point.dist.version})" if point.dist else point.name
        if point.name in origin:
            raise PluginError(
                f"two distributions claim the entry point {point.name!r}: {origin[point.name]} and {side}; uninstall one"
            )
        origin[point.name] = side
        try:
            plugin = point.load()
        except Exception as error:
            broken[side] = f"{type(error).__name__}: {error}"
            continue
        for name, function in inspect.getmembers(plugin, lambda member: hasattr(member, f"{GROUP}_impl")):
            if not hasattr(Hooks, name):
                raise PluginError(f"{side} implements {unknown('hook', name, _hooks())} ({function.__module__})")
        try:
            manager.register(plugin, name=point.name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{side}: {error}") from error
    return origin, broken


def _hooks() -> list[str]:
    return [name for name in vars(Hooks) if not name.startswith("_")]


def _checked(given: Any, side: str) -> tuple[str, str]:
    """(family, kind) of a component class; raises PluginError where it is not one."""
    if not inspect.isclass(given) or not isinstance(getattr(given, "kind", None), str):
        raise PluginError(f"{side} provides {given!r}, which is not a class with `kind: ClassVar[str]`")
    cls: Any = given
    family = next((name for name, base in FAMILIES.items() if issubclass(cls, base)), None)
    if family is None:
        raise PluginError(
            f"{side} provides {cls.__name__}, which subclasses none of: {', '.join(b.__name__ for b in FAMILIES.values())}"
        )
    missing = ", ".join(sorted(getattr(cls, "__abstractmethods__", ())))
    if missing:
        raise PluginError(f"{side} provides {cls.__name__} ({family} {cls.kind!r}) without implementing {missing}")
    if not attrs.has(given) or not attrs.inspect(given).is_frozen:
        raise PluginError(
            f"{side} provides {cls.__name__} ({family} {cls.kind!r}), which is not frozen: decorate it with @attrs.frozen"
        )
    return family, str(cls.kind)


def components_in(package: ModuleType) -> list[type]:
    """Every component class defined in a package's modules, for a `components` hook: a new file is a new component."""
    found = []
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == info.name
            if own and attrs.has(cls) and isinstance(getattr(cls, "kind", None), str) and not inspect.isabstract(cls):
                found.append(cls)
    return found
