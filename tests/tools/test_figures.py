"""The figure command on small real runs: files that open and are of the size said, and what it says where it cannot draw."""

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from small import Shell

from measureflow.api import Particles, System
from measureflow.plugins.registry import Registry
from measureflow.run.runner import Asked, stage_of
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.observers._panels import Panel, panels
from measureflow_tools.analysis.charts import chart_of
from measureflow_tools.analysis.densities import mesh_of
from measureflow_tools.analysis.groups import grouped
from measureflow_tools.analysis.runs import read, read_all
from measureflow_tools.analysis.scenes import scene
from measureflow_tools.plotting import curves, density
from measureflow_tools.plotting.angles import nearest
from measureflow_tools.plotting.curves import shared
from measureflow_tools.plotting.globe import raster, view_of
from measureflow_tools.plotting.laws import shown
from measureflow_tools.plotting.pages import pages_of
from measureflow_tools.plotting.style import logarithm

SEEN = ["curves", "snapshots"]
GLOBE: dict[str, Any] = {"observers": SEEN}
THIN = {"observers": [{"kind": "snapshots", "atoms": 5}]}
CIRCLE = {**GLOBE, "data.neurons": [[1.0, 0.0], [0.0, 1.0]], "data.weights": [-3.0, 2.0]}
HIGH = {**GLOBE, "data.neurons": {"angle": 1.37, "dim": 15}, "data.weights": [-3.0, -3.0]}
PLANE = {
    **GLOBE, "data": {"kind": "space", "domain": "euclidean", "dim": 2}, "coupling": {"kind": "gibbs", "energy": "banana"},
    "measures.gamma": None, "measures.nu.init": {"kind": "uniform", "size": 30}, "measures.nu.flows": [{"kind": "langevin"}],
    "metrics": [{"kind": "moments"}],
}  # fmt: skip
TORUS = {
    **PLANE, "data": {"kind": "space", "domain": "torus", "dim": 2}, "coupling": {"kind": "game", "feature": {"kind": "fourier"}},
    "measures.mu": {"init": {"kind": "uniform", "size": 20}, "flows": [{"kind": "wfr"}]},
    "measures.nu.flows": [{"kind": "wfr"}], "metrics": [{"kind": "nikaido-isoda"}],
}  # fmt: skip

FLAT = {
    **PLANE, "data": {"kind": "space", "domain": "sphere", "dim": 3}, "metrics": [],
    "coupling": {"kind": "gibbs", "energy": "von-mises-fisher", "strength": 1e-3},
}  # fmt: skip

Runs = Callable[..., Path]


@pytest.fixture
def run(shell: Shell) -> Runs:
    """Runs the small experiment with changes into a folder."""

    def runs(changes: dict[str, Any], out: str = "run") -> Path:
        said = shell("run", shell.write(changes), "--out", out, "--quiet")
        assert said.code == 0, said
        return Path(out)

    return runs


def size(png: Path) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    content = png.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (GLOBE, ("curves", "density", "energy", "neurons", "angles")),
        (CIRCLE, ("curves", "density", "energy", "neurons", "angles")),
        (PLANE, ("curves", "density", "energy", "neurons")),
        (TORUS, ("curves", "neurons")),
        (HIGH, ("curves", "neurons", "angles")),
    ],
    ids=["globe", "circle", "plane", "torus", "high"],
)
def test_what_can_be_drawn_is_drawn(run: Runs, shell: Shell, changes: dict[str, Any], what: tuple[str, ...]) -> None:
    folder = run(changes)
    for each in what:
        said = shell("figure", folder, "--what", each)
        assert said.code == 0, said
        assert said.out == f"figure run/figures/{each}.png\nfigure run/figures/{each}.pdf\n"
        width, height = size(folder / "figures" / f"{each}.png")
        assert 600 <= width <= 4000
        assert 400 <= height <= 3000
        pdf = (folder / "figures" / f"{each}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/FontFile2" in pdf  # TrueType: text that can be searched
        assert b"/Type3" not in pdf


def test_curves_of_several_runs_and_one_metric(run: Runs, shell: Shell, registry: Registry) -> None:
    folders = [run({**GLOBE, "seed": seed}, f"run-{seed}") for seed in (0, 1)] + [run({**GLOBE, "step": 0.02}, "other")]
    assert shell("figure", *folders, "--metric", "kl", "--out", "all.png").out == "figure all.png\n"
    one = size(Path("all.png"))
    shell("figure", *folders, "--out", "all.png")
    assert size(Path("all.png"))[0] > 1.6 * one[0]
    assert [panel.name for panel in shared(grouped(read_all(folders, registry), registry))] == ["kl", "tv"]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"observers": ["curves"]}, ("--what", "neurons"), "run: has no snapshots; add observers ="),
        (PLANE, ("--what", "angles"), "no teacher lives in the space of 'nu'"),
        (HIGH, ("--what", "density"), "no density can be drawn on the sphere in d = 15, only on S^1, S^2,"),
        (HIGH, ("--what", "energy"), "--what neurons draws a projection"),
        (TORUS, ("--what", "density"), "run: there is no density: a game of two players models no data"),
        (GLOBE, ("--what", "neurons", "--measure", "gama"), "unknown measure 'gama'; known: data, gamma, nu, teacher"),
        (GLOBE, ("--metric", "kll"), "unknown metric 'kll'; known: kl, tv (did you mean 'kl'?)"),
        (GLOBE, ("--range", "2"), "--range is the window of a density or an energy; --what curves has none"),
        (GLOBE, ("--step", "2"), "--step picks a snapshot; curves show every step that was measured"),
        (GLOBE, ("--what", "density", "--step", "9"), "run: no snapshot at step 9; there are 0, 1, 2, 3"),
        (FLAT, ("--what", "density"), "the density at step 3 is the same everywhere, up to 2%,"),
        (GLOBE, ("--out", "figure.svg"), "figure.svg: a figure ends with .png or .pdf"),
        (
            {**GLOBE, "observers": [{"kind": "snapshots", "atoms": 5}]},
            ("--what", "density"),
            "of whose 8 atoms the snapshots keep 5;",
        ),
    ],
)
def test_figure_says_what_was_wrong(
    run: Runs, shell: Shell, changes: dict[str, Any], options: tuple[str, ...], message: str
) -> None:
    said = shell("figure", run(changes), *options)
    assert said.code == 2, said
    assert message in said.err
    assert "Traceback" not in said.err


def test_only_curves_take_several_runs(run: Runs, shell: Shell) -> None:
    said = shell("figure", run(GLOBE, "a"), run(GLOBE, "b"), "--what", "density")
    assert said.err == "error: --what density draws one run, got 2; --what curves draws several\n"


# What the drawings are made of


def globe() -> System:
    points = torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8]], dtype=torch.float64)
    return System({"data": Particles.uniform(points, Sphere())})


def test_a_view_is_a_rotation_and_its_back_the_other_half() -> None:
    system = globe()
    view = view_of(chart_of(system, "data"), system)
    for one in (view, view.behind):
        assert np.allclose(one.axes @ one.axes.T, np.eye(3))
        assert np.linalg.det(one.axes) == pytest.approx(1)
    front, back = pages_of(chart_of(system, "data"), system)
    points = torch.nn.functional.normalize(torch.randn(100, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    (xy, seen), (yx, other) = front.place(points), back.place(points)
    assert (seen != other).all()
    assert np.allclose(xy, yx * [-1, 1])
    assert front.place(system["data"].points)[1].all()


def test_the_raster_shows_each_point_where_the_view_puts_it() -> None:
    system = globe()
    chart = chart_of(system, "data")
    mesh, view = mesh_of(chart, system, 128), view_of(chart, system)
    assert mesh is not None
    direction = torch.tensor([0.3, -0.5, 0.9], dtype=torch.float64)
    image = raster(view, mesh, (mesh.points @ direction).numpy(), 101)
    ticks = (np.arange(101) + 0.5) * (2 / 101) - 1
    for i, j in ((50, 50), (30, 70), (80, 40)):
        u, v = ticks[j], ticks[i]
        point = np.array([u, v, np.sqrt(1 - u * u - v * v)]) @ view.axes
        assert image[i, j] == pytest.approx(float(direction @ torch.tensor(point)), abs=0.02)
    assert image.mask[0, 0]


def test_densities_integrate_to_one_and_energies_are_their_logarithms() -> None:
    system = globe()
    chart = chart_of(system, "data")
    mesh = mesh_of(chart, system, 16)
    assert mesh is not None
    mass = torch.softmax(mesh.points[:, 0], 0)
    values = shown(mass, chart, mesh, "density")
    assert values.mean() == pytest.approx(1)  # against the uniform law
    assert np.allclose(shown(mass, chart, mesh, "energy"), -np.log(values))
    flat = attrs.evolve(chart, kind="plane")
    box = attrs.evolve(mesh, extent=(0.0, 4.0, 0.0, 0.5))
    assert shown(mass, flat, box, "density").mean() * 2 == pytest.approx(1)  # against the area


def test_angles_are_those_to_the_nearest_planted_neuron() -> None:
    turn = torch.tensor([0.0, 1e-4, 0.5, 3.0], dtype=torch.float64)
    mu = Particles.uniform(torch.stack([turn.cos(), turn.sin()], 1), Sphere())
    planted = Particles.uniform(torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64), Sphere())
    assert nearest(mu, planted) == pytest.approx(np.degrees([0, 1e-4, 0.5, np.pi - 3.0]))


def test_the_circle_is_shaded_as_a_ring() -> None:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    system = System({"data": Particles.uniform(points, Sphere())})
    chart = chart_of(system, "data")
    mesh = mesh_of(chart, system, 16)
    assert mesh is not None
    axes = Figure().subplots()
    pages_of(chart, system)[0].shade(axes, mesh, np.arange(64.0), Normalize(0, 63), "Greys")
    (ring,) = axes.collections
    assert ring.get_array().tolist() == list(range(64))


def test_loading_the_plugins_does_not_load_matplotlib() -> None:
    """Its import takes half a second, which `measureflow --help` should not."""
    command = "import sys, measureflow.plugins.registry; measureflow.plugins.registry.load(); sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_every_what_is_offered(shell: Shell) -> None:
    assert re.search(r"curves\|density\|energy\|neurons\|angles", shell("figure", "--help").out)


def test_a_run_without_metrics_has_no_curves(shell: Shell) -> None:
    assert shell("run", shell.write({"metrics": []}), "--out", "bare", "--quiet").code == 0
    said = shell("figure", "bare")
    assert said.code == 2
    assert "no metric was measured by all of these runs" in said.err


def test_a_figure_of_several_runs_has_a_name_of_its_own(shell: Shell) -> None:
    for seed in (0, 1):
        assert shell("run", shell.write({"seed": seed, "observers": ["checkpoint"]}), "--out", f"r{seed}", "--quiet").code == 0
    assert shell("figure", "r0", "r1", "--metric", "kl").code == 0
    assert sorted(path.name for path in Path("r0/figures").iterdir()) == ["curves-kl-2-runs.pdf", "curves-kl-2-runs.png"]


def lines(figure: Figure) -> list[tuple[str, list[str]]]:
    """The title of each panel, and the labels of what is drawn in it."""
    return [(axes.get_title(), axes.get_legend_handles_labels()[1]) for axes in figure.axes]


def test_energies_share_a_panel_and_errors_are_bars(run: Runs, registry: Registry) -> None:
    folder = run({**GLOBE, "metrics": [{"kind": "energy"}, {"kind": "nll"}]})
    groups = grouped(read_all([folder], registry), registry)
    drawn = curves.draw(groups)
    assert lines(drawn) == [("energy", ["nu", "data"]), ("nll", ["run"])]
    assert [bars.has_yerr for bars in drawn.axes[1].containers] == [True]
    assert [bars.has_yerr for bars in drawn.axes[0].containers] == [False, False]
    assert [title for title, _ in lines(curves.draw(groups, ["nll.ess"]))] == ["nll.ess"]


def test_a_metric_of_another_measure_is_no_part(run: Runs, shell: Shell, registry: Registry) -> None:
    tv = [{"kind": "tv"}, {"kind": "tv", "of": "nu"}]
    folder = run({**GLOBE, "metrics": [*tv, {"kind": "nll"}, {"kind": "nll", "at": "data"}]})
    (one,) = read_all([folder], registry)
    main, parts = panels(one.metrics, one.written)
    assert main == [Panel("tv", ("tv", "tv.nu")), Panel("nll", ("nll", "nll.data"))]
    assert parts == [f"{whole}.{part}" for whole in ("nll", "nll.data") for part in ("log_z", "error", "ess")]
    assert lines(curves.draw(grouped([one], registry))) == [("tv", ["tv", "nu"]), ("nll", ["nll", "data"])]
    assert stage_of(one.experiment, Asked(folder)).metrics == tuple(one.written)


def test_the_title_is_the_name_and_the_folder_at_the_left(run: Runs, registry: Registry) -> None:
    for folder, title in (("small-2", "small-2"), ("other", "small (other)")):
        figure = curves.draw(grouped(read_all([run(GLOBE, folder)], registry), registry))
        assert figure.get_suptitle() == title
        figure.draw_without_rendering()
        assert figure._suptitle.get_window_extent().x1 < figure.axes[1].title.get_window_extent().x0


def test_the_density_shows_the_data_it_was_learned_from(run: Runs, registry: Registry) -> None:
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    data = {"kind": "file", "path": "x.npy", "domain": {"kind": "euclidean", "base": "gaussian"}}
    learned = scene(
        read(run({**GLOBE, "data": data, "coupling.feature": {"kind": "relu-affine"}, "metrics": []}), registry), registry
    )
    titles = [[title for title, _ in lines(density.draw(learned, "density", with_data=shown))][:-1] for shown in (True, False)]
    assert titles == [["data", "step 3"], ["step 3"]]
    cloud = density.draw(learned, "density").axes[0].collections[0]
    assert np.allclose(np.asarray(cloud.get_offsets()), learned.last["data"].points)
    left, right = density.draw(learned, "density", half_width=3.0).axes[0].get_xlim()
    assert right - left == pytest.approx(6.0)
    assert [title for title, _ in lines(density.draw(learned.at(1), "density"))][:2] == ["data", "step 1"]


def test_where_walkers_start_is_no_data_of_a_known_energy(run: Runs, registry: Registry) -> None:
    start = {"kind": "mixture", "means": [[0.0, 0.0]], "train": 30}
    known = scene(read(run({**PLANE, "data": start, "measures.nu.init": "data"}), registry), registry)
    assert [title for title, _ in lines(density.draw(known, "density"))][:-1] == ["step 3"]


def test_labels_of_a_logarithmic_axis_do_not_meet() -> None:
    for low, high, expected in ((20, 600, "20 50 100 200 500"), (0.34, 0.5, "0.36 0.4 0.44 0.48"), (1e-3, 1e2, "")):
        axes = Figure().subplots()
        axes.set_xlim(low, high)
        logarithm(axes.xaxis)
        axes.figure.draw_without_rendering()
        shown = [label.get_text() for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        assert " ".join(shown) == expected or not expected
        assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))
