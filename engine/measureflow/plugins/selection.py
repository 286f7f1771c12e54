"""Which installed plugins may load: all of them, or those that the command line and the environment leave."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import final

import attrs

from measureflow.errors import PluginError, unknown

VARIABLE = "MEASUREFLOW_PLUGINS"
DISTRIBUTION = "measureflow"
BUILT_IN = {"builtin": "measureflow_plugins", "tools": "measureflow_tools"}  # its entry points, which always load


@final
@attrs.frozen
class Choice:
    """`only`: the entry points that may load beside the built-in ones, None for all; `blocked`: entry points or distributions."""

    only: tuple[str, ...] | None = None
    blocked: tuple[str, ...] = ()
    none: bool = False

    @classmethod
    def given(cls, blocked: Sequence[str] = (), none: bool = False) -> "Choice":
        """What the environment variable MEASUREFLOW_PLUGINS says, and what the options --block and --no-plugins do."""
        said = os.environ.get(VARIABLE)
        only = None if said is None else tuple(name.strip() for name in said.split(",") if name.strip())
        return cls(only, tuple(blocked), none)

    def sifted(self, points: Iterable[EntryPoint]) -> tuple[list[EntryPoint], dict[str, str]]:
        """The entry points that may load, and by side what blocks the others; raises PluginError where a name is unknown."""
        every = list(points)
        self._check([point for point in every if not is_built_in(point)])
        barred = {id(point): self._bar(point) for point in every}
        return [p for p in every if not barred[id(p)]], {side(p): bar for p in every if (bar := barred[id(p)])}

    @contextmanager
    def handed_on(self, points: Iterable[EntryPoint]) -> Iterator[None]:
        """Lets processes that are started meanwhile load what this one may, through the environment variable."""
        before = os.environ.get(VARIABLE)
        if self.none or self.blocked:
            os.environ[VARIABLE] = ",".join(point.name for point in self.sifted(points)[0] if not is_built_in(point))
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)
            os.environ.update({} if before is None else {VARIABLE: before})

    def _check(self, others: Sequence[EntryPoint]) -> None:
        names = {point.name for point in others}
        known = {"--block": names | {p.dist.name for p in others if p.dist}, VARIABLE: names | set(BUILT_IN)}
        for place, asked in (("--block", self.blocked), (VARIABLE, self.only or ())):
            for name in asked:
                if _plain(name) not in map(_plain, known[place]):
                    raise PluginError(f"{place}: {unknown('plugin', name, known[place])}")

    def _bar(self, point: EntryPoint) -> str | None:
        if is_built_in(point):
            return None
        if self.none:
            return "--no-plugins"
        if {_plain(point.name), _plain(point.dist.name if point.dist else "")} & set(map(_plain, self.blocked)):
            return "--block"
        return VARIABLE if self.only is not None and _plain(point.name) not in map(_plain, self.only) else None


def side(point: EntryPoint) -> str:
    """How messages name a plugin: `entry point (distribution version)`."""
    return f"{point.name} ({point.dist.name} {point.dist.version})" if point.dist else point.name


def is_built_in(point: EntryPoint) -> bool:
    """Whether the entry point is one of this project's own: another distribution may take the same names."""
    return point.dist is not None and point.dist.name == DISTRIBUTION and BUILT_IN.get(point.name) == point.value


def _plain(name: str) -> str:
    """A name as package indices compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
