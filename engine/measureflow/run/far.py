"""How far out the measures of a run are, compared with where they began."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import final

import attrs

from measureflow.core.measure import System
from measureflow.dynamics.divergence import reach
from measureflow.parallel.group import Team
from measureflow.run.events import Event

EXTREME = 1e5  # times as far out as at the start: a run that ends there was most likely lost on the way


@final
@attrs.frozen(eq=False)
class Far:
    """Compares systems with the start of their run, of which each bound is `runaway` times the reach, or times 1 if more."""

    bounds: Mapping[str, float]
    runaway: float
    team: Team

    def words(self, system: System, times: float) -> str:
        """Which measures are over `times` as far out as they began, in words; empty if none is. Waits for the device."""
        told = self.team.did(lambda: json.dumps({name: reach(system[name]) for name in self.bounds}))
        reaches = [json.loads(text) for text in told]
        factors = {name: self.runaway * max(each[name] for each in reaches) / bound for name, bound in self.bounds.items()}
        return ", ".join(f"{name} {factor:.2g} times as far as it began" for name, factor in factors.items() if factor > times)


def ended(systems: Iterator[System], far: Far, note: Callable[[Event], None]) -> Iterator[System]:
    """The same systems; notes after the last one if it is extremely far out."""
    last = None
    for last in systems:
        yield last
    if last is not None and (words := far.words(last, EXTREME)):
        why = f"the run ends far out ({words}) and was most likely lost on the way: lower step, or `runaway` to notice sooner"
        note({"step": last.step, "time": last.time, "what": "warning", "kind": "far", "why": why})
