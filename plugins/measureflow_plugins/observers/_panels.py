"""Panels: which metrics are drawn together, what each panel is called, and whether its axis is logarithmic."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

import attrs
import numpy as np

TITLES = {"kl": "KL(teacher | student)", "score": "score matching distance", "tv": "TV norm of gamma"}
LINEAR = ("tv", "mass", "energy")  # may be signed, or has a bound to be compared with
PANELS = 24  # in one figure: each takes a good part of a second to draw
LINES = 12  # in one panel: a longer legend would cover it
NAMED = 5


@final
@attrs.frozen
class Panel:
    """One panel: its name, and the metrics drawn in it."""

    name: str
    metrics: tuple[str, ...]

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name) if self.metrics == (self.name,) else self.name

    def label(self, metric: str) -> str:
        """What tells a metric from the others of the panel."""
        return metric.removeprefix(f"{self.name}.")


def panels(names: Iterable[str], written: Iterable[Sequence[str]]) -> tuple[list[Panel], list[str]]:
    """The panels of these metrics, and apart those that are a part of another one, as `nll.error` is of `nll`.

    written: the names that each metric of the config writes. A part is written by the metric that writes the whole: `tv.mu`,
    the TV norm of another measure, is no part of `tv`. What begins alike shares a panel, as `energy.nu` and `energy.data` do.
    """
    found = list(dict.fromkeys(names))
    together = [set(group).intersection(found) for group in written]
    parts = [name for name in found if any(name in group and not group.isdisjoint(_parents(name)) for group in together)]
    whole = [name for name in found if name not in parts]
    heads = dict.fromkeys(name.split(".")[0] for name in whole)
    alike = {head: tuple(name for name in whole if name.split(".")[0] == head) for head in heads}
    return [Panel(head if len(group) > 1 else group[0], group) for head, group in alike.items()], parts


def fitted(panels: Sequence[Panel]) -> tuple[list[Panel], str]:
    """The first panels, and the first metrics of each, that a figure has room for, and what to say of the rest, or ""."""
    kept = [attrs.evolve(panel, metrics=panel.metrics[:LINES]) for panel in panels[:PANELS]]
    drawn = {metric for panel in kept for metric in panel.metrics}
    rest = [metric for panel in panels for metric in panel.metrics if metric not in drawn]
    if not rest:
        return kept, ""
    more = f" and {len(rest) - NAMED} more" if len(rest) > NAMED else ""
    return kept, f"Not drawn: {', '.join(rest[:NAMED])}{more}. To see one: measureflow figure RUN --metric NAME."


def error_of(metric: str) -> str:
    """The metric that holds the standard error of another."""
    return f"{metric}.error"


def logarithmic(metric: str, values: Iterable[np.ndarray]) -> bool:
    """Whether an axis is logarithmic: if all is positive and there is no bound to compare with."""
    return metric.split(".")[0] not in LINEAR and all(bool((part[np.isfinite(part)] > 0).all()) for part in values)


def heading(name: str, folder: Path) -> str:
    """The title of a run: its experiment's name, and its folder's unless that begins with the name."""
    own = folder.resolve().name
    return own if own.startswith(name) else f"{name} ({own})"


def _parents(name: str) -> list[str]:
    words = name.split(".")
    return [".".join(words[:k]) for k in range(1, len(words))]
