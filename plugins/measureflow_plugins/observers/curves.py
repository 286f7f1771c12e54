"""The figure of the paper: metrics against iterations."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, final

import attrs

from measureflow.files import make, write
from measureflow.log import read_metrics
from measureflow.observe import Observer, See, Shows, Stage

TITLES = {"kl": "KL(teacher | student)", "score": "score matching distance", "tv": "TV norm of $\\gamma$"}
COLUMNS = 3
LINEAR = ("tv", "mass", "energy")  # may be signed, or has a bound to be seen against


@final
@attrs.frozen
class Curves(Observer):
    """Draws every metric against the iteration, a panel each, into figures/curves.png when the run ends."""

    kind: ClassVar[str] = "curves"
    shows: ClassVar[Shows] = "clock"
    only: tuple[str, ...] | None = None

    @contextmanager
    def watch(self, stage: Stage) -> Iterator[See]:
        try:
            yield lambda system, row: None
        finally:
            draw(read_metrics(stage.folder), stage.folder / "figures" / "curves.png", stage.name, self.only)


def draw(rows: Sequence[dict[str, float]], path: Path, title: str, only: Sequence[str] | None = None) -> None:
    """A panel for every metric in `rows`; draws nothing where there is none."""

    from matplotlib.figure import Figure

    names = only or list(dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds")))
    if not names:
        return
    columns = min(COLUMNS, len(names))
    rows_of_panels = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.4 * rows_of_panels), layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(rows_of_panels, columns, squeeze=False).ravel()
    for axes in panels[len(names) :]:
        axes.remove()
    for axes, name in zip(panels, names, strict=False):
        points = [(row["step"], row[name]) for row in rows if name in row]
        axes.plot(*zip(*points, strict=True))
        axes.set(title=TITLES.get(name, name), xlabel="iteration")
        if all(value > 0 for _, value in points) and name.split(".")[0] not in LINEAR:
            axes.set_yscale("log")
        axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format="png")
    make(path.parent)
    write(path, image.getvalue())
