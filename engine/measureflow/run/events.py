"""What happens in a run beside its metrics, on the record: events.jsonl."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measureflow.errors import printable
from measureflow.observe.observer import Stage
from measureflow.run.jsonl import append, read_rows, write_rows

EVENTS = "events.jsonl"  # one object a line: `step`, `time`, `what` ("halve-step" or "warning"), `why`
Event = Mapping[str, Any]


def read_events(folder: Path) -> list[dict[str, Any]]:
    """What happened in a run beside its metrics: halvings and warnings; raises MeasureflowError where a line is damaged."""
    return read_rows(folder / EVENTS, _known)


def _known(event: dict[str, Any]) -> bool:
    """Whether it is an event that `told` has words for."""
    numbers = (event[name] for name in (("factor", "h") if event["what"] == "halve-step" else ()))
    return event["what"] in ("halve-step", "warning") and type(event["why"]) is str and all(type(x) is float for x in numbers)


def rewind(folder: Path, step: int) -> None:
    """Keeps the events before a step: what comes from there on will happen again."""
    if (folder / EVENTS).exists():
        write_rows(folder / EVENTS, [event for event in read_events(folder) if event["step"] < step])


def noted(stage: Stage, event: Event) -> None:
    """Puts an event that all processes know of on the record, and says it; raises WriteError."""
    if stage.team.leads:
        append(stage.folder / EVENTS, event)
        said(stage, event)


def said(stage: Stage, event: Event) -> None:
    """Says an event on standard error unless the user asked for quiet."""
    if not stage.quiet:
        print(told(event), file=sys.stderr)


def told(event: Event) -> str:
    """An event in words."""
    return printable(_told(event))


def _told(event: Event) -> str:
    if event["what"] == "halve-step":
        return (
            f"warning: {event['why']}; goes on from step {event['step']} with h = {event['h']:g}, {event['factor']:g} of what was "
            "asked: as many steps as before, and less time"
        )
    return f"warning at step {event['step']}: {event['why']}"
