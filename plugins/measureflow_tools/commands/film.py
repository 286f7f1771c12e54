"""measureflow film: a recorded run's snapshots, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress

from measureflow.api import MeasureflowError
from measureflow.cli import FOLDER
from measureflow.plugins.registry import Registry
from measureflow.run.atomic import check_links, make, replacing
from measureflow_tools.analysis.runs import read
from measureflow_tools.analysis.scenes import Scene, scene
from measureflow_tools.plotting.frames import Film, frames, prepared
from measureflow_tools.plotting.style import look

WHAT = ("density", "neurons", "particles")


@click.command()
@click.argument("folder", metavar="RUN", type=FOLDER)
@click.option("--what", type=click.Choice(WHAT), help="What to show. Default: the density where it can be drawn, else neurons.")
@click.option("--out", type=FOLDER, help="The file, .mp4 or .gif. Default: RUN/figures/WHAT.mp4, or .gif without the extra film.")
@click.option("--fps", default=10, show_default=True, type=click.IntRange(1, 60), help="Snapshots a second.")
@click.pass_obj
def film(registry: Registry, folder: Path, what: str | None, out: Path | None, fps: int) -> None:
    """Makes a film of a run's particles, neurons and density.

    It has a frame for each snapshot.
    """
    if out is not None and out.suffix.lower() not in (".mp4", ".gif"):
        raise MeasureflowError(f"{out}: a film ends with .mp4 or .gif")
    seen = scene(read(folder, registry), registry)
    chosen, ready = _best(seen) if what is None else (what, prepared(seen, what))
    if out is None:
        check_links(folder)
    path = out or folder / "figures" / f"{chosen}{'.mp4' if _has_ffmpeg() else '.gif'}"
    make(path.parent)
    with look(), Progress(console=Console(stderr=True), transient=True) as bar:
        images = iter(bar.track(frames(ready), total=len(ready), description=seen.run.name))
        (_mp4 if path.suffix.lower() == ".mp4" else _gif)(path, images, fps)
    click.echo(f"film {path}")


def _best(seen: Scene) -> tuple[str, Film]:
    """The density where a page shows the data's space and an energy is learned there; else neurons."""
    try:
        return "density", prepared(seen, "density")
    except MeasureflowError:
        return "neurons", prepared(seen, "neurons")


def _has_ffmpeg() -> bool:
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        return False
    return True


def _mp4(path: Path, images: Iterator[np.ndarray], fps: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise MeasureflowError(
            f"{path}: needs the extra film: pip install 'measureflow[film]'; without it, --out {path.with_suffix('.gif')} works"
        ) from None
    first = next(images)
    with replacing(path) as part:
        options = {"fps": fps, "codec": "libx264", "macro_block_size": 2, "output_params": ["-crf", "18", "-f", "mp4"]}
        writer = imageio_ffmpeg.write_frames(str(part), first.shape[1::-1], **options)
        whole = (None, first, *images)
        try:
            for image in whole:
                writer.send(image)
            writer.close()
        except OSError:  # whose message has ffmpeg's whole command
            raise OSError("ffmpeg stopped; is the disk full?") from None
        _check(part, len(whole) - 1)


def _check(path: Path, sent: int) -> None:
    """A full disk stops ffmpeg without a word: a film is whole where all its images can be read."""
    import imageio_ffmpeg

    try:
        counted, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    except (OSError, RuntimeError):
        counted = 0
    if counted != sent:
        raise OSError(f"ffmpeg wrote {counted} of {sent} images")


def _gif(path: Path, images: Iterator[np.ndarray], fps: int) -> None:
    from PIL import Image

    first, *others = (Image.fromarray(image).quantize(128) for image in images)
    with replacing(path) as part:
        first.save(part, format="GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
