"""Who raised: the component of a plugin, its place in the experiment and its line, read off a traceback."""

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from measureflow.config.experiment import Experiment
from measureflow.observe.observer import Probe, Watch
from measureflow.plugins.registry import Registry
from measureflow.plugins.selection import BUILT_IN


def blamed(error: Exception, registry: Registry) -> str | None:
    """One line that names the component, or else the plugin, that raised; None where neither did.

    The innermost one counts, except that a plugin comes before built-in components, which it may have called with something wrong.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    found = [(who, frame, line) for frame, line in frames if (who := _owner(frame, registry))]
    if not found:
        return None
    (origin, component), frame, line = next((f for f in reversed(found) if f[0][0].partition(" (")[0] not in BUILT_IN), found[-1])
    whose = f"plugin {origin}"
    if component is not None:
        cls, place = type(component), _place(component, [frame for frame, _ in frames])
        whose = f"{cls.family} {cls.kind!r} of {origin}{f', at {place},' if place else ''}"
    said = (str(error).splitlines() or [""])[0]
    return f"{whose} raised {type(error).__name__}: {said} ({Path(frame.f_code.co_filename).name}, line {line})"


def _owner(frame: FrameType, registry: Registry) -> tuple[str, Any] | None:
    """The plugin whose code runs in a frame, and the component whose method it is, if any; None for the engine's code."""
    component: Any = frame.f_locals.get("self")
    key = getattr(component, "family", ""), getattr(component, "kind", "")
    if registry.components.get(key) is type(component):
        return registry.origins[key], component
    module = str(frame.f_globals.get("__name__", ""))
    for name, plugin in registry.manager.list_name_plugin():
        package = getattr(plugin, "__name__", "")
        if name not in BUILT_IN and (module == package or module.startswith(f"{package}.")):
            return registry.sides[name], None
    return None


def _place(component: Any, frames: list[FrameType]) -> str | None:
    """The dotted path of a component in the experiment that some frame is at work on."""
    experiments = (value for frame in reversed(frames) for value in frame.f_locals.values() if isinstance(value, Experiment))
    return next((place for e in experiments for place in _paths(e, component, ())), None)


def _paths(here: Any, wanted: Any, keys: tuple[str, ...]) -> Iterator[str]:
    here = here.metric if isinstance(here, Probe) else here.observer if isinstance(here, Watch) else here
    if here is wanted:
        yield ".".join(keys)
    inner: Mapping[Any, Any] = {}
    if attrs.has(type(here)):
        inner = {a.alias: getattr(here, a.name) for a in attrs.fields(type(here))}
    elif isinstance(here, Mapping | tuple):
        inner = dict(enumerate(here)) if isinstance(here, tuple) else dict(here)
    for key, part in inner.items():
        yield from _paths(part, wanted, (*keys, str(key)))
