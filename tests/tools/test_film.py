"""The film command: as many frames as snapshots, of even size, read back from the file."""

import builtins
import re
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
from PIL import Image
from small import Shell
from test_figures import CIRCLE, GLOBE, HIGH, PLANE, TORUS

from measureflow_tools.analysis.snapshots import steps_saved

FEW = {**GLOBE, "observers": [{"kind": "snapshots", "count": 2, "spacing": "linear"}]}


def recorded(shell: Shell, changes: dict[str, Any]) -> Path:
    said = shell("run", shell.write(changes), "--out", "run", "--quiet")
    assert said.code == 0, said
    return Path("run")


def video(path: Path) -> tuple[int, tuple[int, int], int]:
    """Frames, size and frames a second, as ffmpeg reads them."""
    frames, _ = imageio_ffmpeg.count_frames_and_secs(str(path))
    program = imageio_ffmpeg.get_ffmpeg_exe()
    told = subprocess.run([program, "-i", str(path)], capture_output=True, text=True, check=False).stderr
    (found,) = re.findall(r"Video: .*? (\d+)x(\d+)[, ].*? (\d+) fps", told)
    width, height, fps = map(int, found)
    return frames, (width, height), fps


@pytest.mark.parametrize(
    ("changes", "what"), [(GLOBE, "density"), (CIRCLE, "density"), (PLANE, "density"), (TORUS, "neurons"), (HIGH, "neurons")],
    ids=["globe", "circle", "plane", "torus", "high"],
)  # fmt: skip
def test_a_film_has_a_frame_for_each_snapshot(shell: Shell, changes: dict[str, Any], what: str) -> None:
    folder = recorded(shell, changes)
    said = shell("film", folder, "--fps", 5)
    assert said.code == 0, said
    assert said.out == f"film run/figures/{what}.mp4\n"
    count, (width, height), fps = video(folder / "figures" / f"{what}.mp4")
    assert (count, fps) == (len(steps_saved(folder)), 5) == (4, 5)
    assert width % 2 == height % 2 == 0
    assert 400 <= height <= width * 1.2 <= 2000


def test_two_snapshots_are_enough_and_a_gif_has_the_same_frames(shell: Shell) -> None:
    folder = recorded(shell, FEW)
    for what in ("density", "neurons", "particles"):
        said = shell("film", folder, "--what", what, "--out", "film.gif")
        assert said.code == 0, said
        with Image.open("film.gif") as gif:
            assert (gif.n_frames, gif.info["duration"]) == (2, 100)
            assert gif.size[0] % 2 == gif.size[1] % 2 == 0
    assert shell("film", folder, "--out", "film.mp4").code == 0
    assert video(Path("film.mp4"))[0] == 2


def test_the_extra_is_named_and_a_gif_works_without(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = recorded(shell, FEW), builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "imageio_ffmpeg":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    said = shell("film", folder, "--out", "film.mp4")
    assert said.code == 2
    assert said.err.endswith("film.mp4: needs the extra film: pip install 'measureflow[film]'; without it, --out film.gif works\n")
    assert shell("film", folder).out == "film run/figures/density.gif\n"


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (FEW, ("--out", "film.avi"), "film.avi: a film ends with .mp4 or .gif"),
        ({"observers": ["curves"]}, (), "run: has no snapshots"),
        (HIGH, ("--what", "density"), "no density can be drawn on the sphere in d = 15"),
        (TORUS, ("--what", "density"), "models no data, so it has no learned energy; --what particles needs none"),
    ],
)
def test_film_says_what_was_wrong(shell: Shell, changes: dict[str, Any], options: tuple[str, ...], message: str) -> None:
    said = shell("film", recorded(shell, changes), *options)
    assert said.code == 2
    assert message in said.err
