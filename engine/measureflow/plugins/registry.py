"""Plugins: three hooks, the manager that finds them, the registry of what they provide."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, cast, final

import attrs
import click
import pluggy

from measureflow.core.domain import Domain
from measureflow.core.feature import Feature
from measureflow.core.schedule import Schedule
from measureflow.dynamics.coupling import Coupling
from measureflow.dynamics.flow import Flow
from measureflow.dynamics.scheme import Scheme
from measureflow.errors import PluginError, unknown
from measureflow.observe.metric import Metric
from measureflow.observe.observer import Observer
from measureflow.observe.source import Init, Source
from measureflow.plugins.selection import BUILT_IN, Choice, side
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Reducer, Request

GROUP = "measureflow"
FAMILIES: Mapping[str, type] = {
    base.family: base for base in (Coupling, Domain, Feature, Flow, Init, Metric, Observer, Reducer, Schedule, Scheme, Source)
}

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks:
    """The hooks a plugin may implement, each marked with `measureflow.plugins.registry.hookimpl`."""

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
    """Every component by family and kind, where each came from, and the plugins that could not or may not be loaded.

    A plugin's side, which messages name it by, is `entry point (distribution version)`; `sides` has it by entry point.
    """

    manager: pluggy.PluginManager
    sides: Mapping[str, str]
    components: Mapping[tuple[str, str], type]
    origins: Mapping[tuple[str, str], str]
    broken: Mapping[str, str]
    blocked: Mapping[str, str]

    def kinds(self, family: str) -> list[str]:
        """The kinds known in a family, sorted."""
        return sorted(kind for known, kind in self.components if known == family)

    def get(self, family: str, kind: object) -> type:
        """The class of that kind; raises KeyError with the kinds that exist and the plugins that failed or are blocked."""
        found = self.components.get((family, kind)) if isinstance(kind, str) else None
        if found is None:
            failed = "".join(f"; plugin {name} failed to load ({why})" for name, why in self.broken.items())
            barred = "".join(f"; plugin {name} is blocked by {bar}" for name, bar in self.blocked.items())
            raise KeyError(unknown(family, kind, self.kinds(family)) + failed + barred)
        return found

    def pick_reducer(self, request: Request) -> Local:
        """The first reducer a plugin picks for the request, or the chunked one; raises PluginError where a hook fails."""
        for name, implementation in self._asked("pick_reducer"):
            with _blamed(f"{name}: ", "pick_reducer"):
                picked = implementation.function(*(request for _ in implementation.argnames))
            if isinstance(picked, Local):
                return picked
            if picked is not None:
                raise PluginError(f"{name}: its hook 'pick_reducer' gave {picked!r}, which is neither a Local reducer nor None")
        return Chunked()

    def add_commands(self, cli: click.Group) -> dict[str, str]:
        """Lets plugins add commands; returns the sides that failed, and why. Raises PluginError where a command is replaced."""
        owners = dict.fromkeys(cli.commands, "measureflow")
        failed = {}
        for asked, implementation in self._asked("add_commands"):
            before = dict(cli.commands)
            try:
                with _blamed("", "add_commands"):
                    implementation.function(*(cli for _ in implementation.argnames))
            except PluginError as error:
                failed[asked] = str(error)
            for name, command in cli.commands.items():
                if before.get(name, command) is not command:
                    raise PluginError(f"command {name!r} is provided twice: by {owners[name]} and by {asked}; uninstall one")
                owners.setdefault(name, asked)
        return failed

    def commands(self) -> set[str]:
        """The names of the commands that plugins add, each of which may have a table of its own in a config."""
        group = click.Group()
        self.add_commands(group)
        return set(group.commands)

    def _asked(self, hook: str) -> Iterator[tuple[str, pluggy.HookImpl]]:
        """The plugins that implement a hook, in the order in which they are asked: the last registered first."""
        for implementation in reversed(getattr(self.manager.hook, hook).get_hookimpls()):
            yield self.sides[implementation.plugin_name], implementation


def installed() -> Iterable[EntryPoint]:
    """The entry points of every installed plugin."""
    return entry_points(group=GROUP)


def load(points: Iterable[EntryPoint] | None = None, choice: Choice | None = None) -> Registry:
    """Imports the plugins of these entry points and collects what they provide; raises PluginError where two sides clash.

    None means every installed one that `choice` allows, by default what the environment variable MEASUREFLOW_PLUGINS says.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    allowed, blocked = (points, {}) if points is not None else (choice or Choice.given()).sifted(installed())
    sides, broken = _register(manager, allowed)
    components: dict[tuple[str, str], type] = {}
    origins: dict[tuple[str, str], str] = {}
    for implementation in manager.hook.components.get_hookimpls():
        origin = sides[implementation.plugin_name]
        try:
            with _blamed("", "components"):
                provided: list[Any] = list(cast("Iterable[Any]", implementation.function()))
        except PluginError as error:
            broken[origin] = str(error)
            continue
        for cls in provided:
            key = _checked(cls, origin)
            if key in components:
                raise PluginError(
                    f"{key[0]} {key[1]!r} is provided twice: by {origins[key]} and by {origin}; uninstall one or rename its kind"
                )
            components[key], origins[key] = cls, origin
    return Registry(manager, sides, components, origins, broken, blocked)


def _register(manager: pluggy.PluginManager, points: Iterable[EntryPoint]) -> tuple[dict[str, str], dict[str, str]]:
    """Registers each entry point under its name; returns the side of each, and why some failed."""
    sides: dict[str, str] = {}
    broken: dict[str, str] = {}
    ordered = sorted(points, key=lambda point: (point.name not in BUILT_IN, point.name))
    for point in ordered:  # before any of them is imported
        name = side(point)
        if point.name in sides:
            raise PluginError(
                f"two distributions claim the entry point {point.name!r}: {sides[point.name]} and {name}; uninstall one"
            )
        sides[point.name] = name
    for point in ordered:
        name = sides[point.name]
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a module raises, it is not loaded
            broken[name] = f"{type(error).__name__}: {error}"
            continue
        if (known := manager.get_name(plugin)) is not None:
            raise PluginError(f"{name} is the same plugin as {sides[known]} ({point.value}); one entry point is enough")
        try:
            manager.register(plugin, name=point.name)
        except pluggy.PluginValidationError as error:
            raise PluginError(f"{name}: {error}") from error
        callers = manager.get_hookcallers(plugin) or []
        for caller in callers:
            if not caller.has_spec():
                raise PluginError(f"{name} implements {unknown('hook', caller.name, _hooks())} ({point.value})")
        if not callers:
            broken[name] = f"{point.value} implements none of {', '.join(_hooks())}; is @measureflow.api.hookimpl missing?"
    return sides, broken


@contextmanager
def _blamed(prefix: str, hook: str) -> Iterator[None]:
    """Whatever a plugin's hook raises becomes a PluginError that names the hook."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise PluginError(f"{prefix}its hook {hook!r} raised {type(error).__name__}: {error}") from error


def _hooks() -> list[str]:
    return [name for name in vars(Hooks) if not name.startswith("_")]


def _checked(given: Any, side: str) -> tuple[str, str]:
    """(family, kind) of a component class; raises PluginError where it is not one."""
    kind = getattr(given, "kind", None)
    if not inspect.isclass(given) or not isinstance(kind, str) or not kind:
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
    if not _frozen(given):
        raise PluginError(
            f"{side} provides {cls.__name__} ({family} {cls.kind!r}), which is not frozen: decorate it with @attrs.frozen"
        )
    return family, str(cls.kind)


def _frozen(cls: type) -> bool:
    """True where the class itself, not just a parent, is a frozen attrs class."""
    try:
        return attrs.inspect(cls).is_frozen
    except attrs.exceptions.NotAnAttrsClassError:
        return False


def components_in(package: ModuleType) -> list[type]:
    """Every component class defined in a package's modules, for a `components` hook: a new file is a new component.

    A class of a family counts unless it is abstract and has no `kind`, so that a forgotten method or decorator is refused.
    """
    bases = tuple(FAMILIES.values())
    found = []
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        module = importlib.import_module(info.name)
        for cls in vars(module).values():
            own = inspect.isclass(cls) and cls.__module__ == info.name and issubclass(cls, bases)
            if own and (hasattr(cls, "kind") or not inspect.isabstract(cls)):
                found.append(cls)
    return found
