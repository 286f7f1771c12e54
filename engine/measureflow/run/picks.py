"""Which reducer evaluates each kind of sum under `reducer = "auto"`, on the record: reducers.jsonl.

Reducers agree up to rounding only, and what is picked depends on the machine: a resumed run takes what the run took before.
"""

import json
from pathlib import Path
from typing import Any

import attrs

from measureflow.config import structure as config
from measureflow.errors import MeasureflowError
from measureflow.parallel.group import Team
from measureflow.plugins.registry import FAMILIES, Registry
from measureflow.reduction.reducer import Local, Pick, Reducer, Request
from measureflow.run.jsonl import append, read_lines

PICKS = "reducers.jsonl"  # one object a line: `request`, the kind of sum, and `reducer`, a table as in a config
Picks = dict[str, Local]  # by the JSON text of the request


def recording(folder: Path, registry: Registry, team: Team, picks: Picks) -> Pick:
    """Picks as `picks` says, else as the plugins do; the first process records what the plugins pick, before it is used.

    A reducer whose class is no component cannot be read back: it is picked again when the run is resumed.
    """
    picks = dict(picks)

    def pick(request: Request) -> Local:
        key = json.dumps(_facts(request))
        if key not in picks:
            picks[key] = registry.pick_reducer(request)
            if team.leads and registry.components.get(("reducer", picks[key].kind)) is type(picks[key]):
                append(folder / PICKS, {"request": json.loads(key), "reducer": config.unstructure(picks[key])})
        return picks[key]

    return pick


def read_picks(folder: Path, registry: Registry) -> Picks:
    """What was picked in a run; raises MeasureflowError if a line is damaged or names what is not available here."""
    path = folder / PICKS

    def parsed(row: Any) -> tuple[str, Local]:
        try:
            reducer: Any = config.structure(row["reducer"], FAMILIES[Reducer.family], registry, str(path))
        except MeasureflowError as error:
            raise MeasureflowError(f"{error}; delete {path}, and resume picks again: it then goes on up to rounding only") from None
        if not isinstance(reducer, Local):
            raise TypeError
        return json.dumps(row["request"]), reducer

    return dict(read_lines(path, parsed))


def _facts(request: Request) -> dict[str, Any]:
    words = {"dtype": str(request.dtype), "device": str(request.device), "need": request.need.name}
    return attrs.asdict(request) | words
