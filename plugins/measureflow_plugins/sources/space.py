"""A space without data."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs

from measureflow.core.domain import Domain, Space
from measureflow.core.schedule import within
from measureflow.observe.source import Setting, Source, World


@final
@attrs.frozen
class SpaceOnly(Source):
    """No data at all: says only that the first player of a game lives on `domain` in `dim` ambient dimensions."""

    kind: ClassVar[str] = "space"
    domain: Domain
    dim: int = attrs.field(validator=within(1))

    def space(self) -> Space:
        return Space(self.domain, self.dim)

    def sizes(self) -> Mapping[str, int]:
        return {}

    def world(self, setting: Setting) -> World:
        return World(self.space(), {})
