"""The gallery: `python docs/gallery.py` runs small examples, writes their pictures into docs/images and the page docs/gallery.md.

`page()` gives the text of the page without running anything, so that a test sees a stale one.
"""

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs
from PIL import Image

from measureflow.cli import main

DOCS = Path(__file__).resolve().parent
HEAD = """\
<!-- Written by `python docs/gallery.py`: do not edit. -->

# Gallery

Each picture with the commands that give it; RUN is the folder that the run names. `python docs/gallery.py` draws the first {count}
again, which takes a few minutes. To add a picture, add a line to that script. What figures show: [see a run](seeing.md).

:::{{container}} cards

"""


@final
@attrs.frozen
class Picture:
    """One figure of a run of an example: its title, what it shows, the settings of the run and what is drawn."""

    name: str
    title: str
    shows: str
    example: str
    what: str
    settings: Sequence[str] = ()

    @property
    def run(self) -> str:
        return shlex.join(["measureflow", "run", f"docs/examples/{self.example}.toml", *self._set()])

    def draw(self, folder: Path, images: Path) -> None:
        """Runs the example in a folder, draws the figure and keeps it small enough for a repository."""
        run = str(folder / self.name)
        command(["run", str(DOCS / "examples" / f"{self.example}.toml"), *self._set(), "--out", run, "--quiet"])
        command(["figure", run, "--what", self.what, "--out", str(folder / f"{self.name}.png")])
        with Image.open(folder / f"{self.name}.png") as image:
            image.thumbnail((900, 900))
            image.convert("RGB").quantize(128).save(images / f"{self.name}.png", optimize=True)

    def card(self) -> str:
        return card(self.title, f"{self.name}.png", self.shows, [self.run, f"measureflow figure RUN --what {self.what}"])

    def _set(self) -> list[str]:
        return [word for setting in self.settings for word in ("--set", setting)]


SHORT = ("steps=600", "data.train=3000", "data.test=3000", "metrics=[]")
PICTURES = (
    Picture(
        "sphere-density", "Density on the sphere", "Samples and neurons of an energy-based model on S^2, in dual training.",
        "dual-sphere", "density", SHORT,
    ),
    Picture(
        "sphere-energy", "Energy on the sphere", "The learned energy of the same run.", "dual-sphere", "energy", SHORT,
    ),
    Picture(
        "bimodal-angles", "Neurons find their teachers", "Angles of the neurons in d = 15 with the teacher's two directions.",
        "dual-bimodal", "angles", ("steps=1500", "data.train=3000", "data.test=3000", "metrics=[]"),
    ),
    Picture(
        "double-well", "Langevin samples", "A known double well, sampled with Metropolis-adjusted Langevin steps.",
        "langevin-double-well", "density", ("steps=300", "data.train=2000"),
    ),
    Picture(
        "banana", "Stein variational gradient descent", "300 particles fill a banana without noise.",
        "svgd-banana", "density", ("steps=600", "metrics=[]"),
    ),
)  # fmt: skip
OTHERS = (
    ("Training curves", "dual-bimodal.png", "KL divergence, score matching distance and TV norm of the main experiment.",
     ["measureflow run docs/examples/dual-bimodal.toml"]),
    ("A report", "report.png", "Curves, a replay of samples and neurons, and densities on one page that works offline.",
     ["measureflow run docs/examples/dual-sphere.toml", "measureflow report RUN"]),
    ("The tutorial's double well", "wells.png", "Walkers as dots on the exact density: see the [tutorial](tutorial.md).",
     ["measureflow figure RUN --what density"]),
    ("Two moons", "moons.png", "Data, samples and neurons on the density learned from them: see [your data](tutorial-own-data.md).",
     ["measureflow figure RUN --what density"]),
    ("Cost by every measure", "fig1-bimodal-clocks.png",
     "KL of dual and primal training against iterations, particle time, neuron time, pair interactions and seconds.",
     ["measureflow reproduce fig1-bimodal --scale small"]),
)  # fmt: skip


def page() -> str:
    """The text of the gallery."""
    cards = [picture.card() for picture in PICTURES] + [card(*other) for other in OTHERS]
    return HEAD.format(count=len(PICTURES)) + "\n".join(cards) + "\n:::\n"


def card(title: str, image: str, shows: str, commands: Sequence[str]) -> str:
    """An entry of the list: a picture, what it shows and how it is made."""
    given = ", then ".join(f"`{each}`" for each in commands)
    return f"- ![{title}](images/{image})\n\n  **{title}.** {shows}\n\n  {given}\n"


def command(words: Sequence[str]) -> None:
    """A command of measureflow; raises SystemExit if it fails."""
    try:
        main(list(words))
    except SystemExit as stop:
        if stop.code:
            raise


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for picture in PICTURES:
            picture.draw(Path(made), DOCS / "images")
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
