"""The built-in components, registered as a third party's plugin is."""

import sys
from collections.abc import Iterable

from measureflow.plugins.registry import components_in, hookimpl
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request
from measureflow_plugins.reducers.autotune.planner import planner


@hookimpl
def components() -> Iterable[type]:
    """Every component class in this package's modules, and the engine's own reducer."""
    return [*components_in(sys.modules[__name__]), Chunked]


@hookimpl(trylast=True)
def pick_reducer(request: Request) -> Local | None:
    """What the measured costs say is fastest."""
    return planner(request.device.type).plan(request).reducer
