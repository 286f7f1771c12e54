"""The report as a file: whole, small, and nothing in it is taken for markup."""

import base64
import html
import json
import math
import re
import sys
from html.parser import HTMLParser
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import ClassVar, final

import attrs
import numpy as np
import pytest
import torch
from small import TABLES, Shell

import measureflow.plugins.registry
from measureflow.api import Metric, Registry, System, View, from_tables, hookimpl
from measureflow_plugins.observers._panels import Panel, panels
from measureflow_tools.analysis.runs import read, read_all
from measureflow_tools.analysis.snapshots import snapshots
from measureflow_tools.plotting.palette import NEGATIVE, POSITIVE
from measureflow_tools.report.bibliography import USED, cited, entries
from measureflow_tools.report.curves import figure
from measureflow_tools.report.replay import packed, replay

SEEN = {**TABLES, "metrics": [{"kind": "kl"}, {"kind": "tv"}], "observers": ["checkpoint", {"kind": "snapshots", "atoms": 20}]}
EVIL = "</script><script>window.broken = 1</script><img src=x onerror=alert(1)>"


def run(shell: Shell, out: str = "run", **changes: object) -> Path:
    file = shell.write({key.replace("__", "."): value for key, value in changes.items()}, SEEN)
    said = shell("run", file, "--out", out, "--quiet")
    assert said.code == 0, said
    return Path(out)


class Page(HTMLParser):
    """Tags, attributes that load something, and scripts by id."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.scripts: dict[str, str] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        known = dict(attrs)
        self.loads += [str(known[name]) for name in ("src", "href", "data-src", "srcset", "action") if name in known]
        self.inside = (known.get("id") or f"script {len(self.scripts)}") if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[self.inside] = self.scripts.get(self.inside, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def test_one_file_that_loads_nothing(shell: Shell) -> None:
    folder = run(shell)
    said = shell("report", str(folder))
    assert said.code == 0, said
    assert re.fullmatch(r"run/report.html \([\d.]+ MiB\)", said.out.strip())
    page = Page((folder / "report.html").read_text())
    assert {load for load in page.loads if not load.startswith("#")} == {"data:,"}
    assert "default-src 'none'" in (folder / "report.html").read_text()
    assert "link" not in page.tags or page.tags.count("link") == 1  # the empty icon


def test_several_runs_in_the_file_named(shell: Shell, registry: Registry) -> None:
    folders = [run(shell, "one"), run(shell, "two", seed=1)]
    assert shell("report", *map(str, folders), "--out", "both.html").code == 0
    page = Page(Path("both.html").read_text())
    figures = json.loads(page.scripts["figures"])
    assert [trace["name"] for trace in figures["main"]["data"]] == ["one", "two", "one", "two"]
    assert len(json.loads(page.scripts["replays"])) == 2


def test_what_is_shown_is_escaped(shell: Shell) -> None:
    folder = run(shell)
    facts = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**facts, "argv": [EVIL], EVIL: EVIL}))
    rows = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(rows + json.dumps({"step": 3, "seconds": 1.0, EVIL: 2.0}) + "\n")
    assert shell("report", str(folder)).code == 0
    text = (folder / "report.html").read_text()
    assert EVIL not in text
    assert "window.broken = 1&lt;/script" in text
    assert "img" not in Page(text).tags
    main = json.loads(Page(text).scripts["figures"])["main"]  # plotly would take tags in its texts for its own
    assert main["layout"]["annotations"][2]["text"] == f"<b>{html.escape(EVIL)}</b>"


@final
@attrs.frozen
class Marked(Metric):
    """A metric of a plugin, with the name that a plugin should not give it."""

    kind: ClassVar[str] = "marked"
    reads: ClassVar[tuple[str, ...]] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (EVIL,)

    def measure(self, system: System, view: View) -> dict[str, float]:
        return {EVIL: 1.0 + system.step}


def test_what_plugins_files_and_folders_are_called_is_escaped(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("plugin_marked")
    module.components = hookimpl(lambda: [Marked])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = [*entry_points(group="measureflow"), EntryPoint("marked", module.__name__, "measureflow")]
    monkeypatch.setattr(measureflow.plugins.registry, "entry_points", lambda group: points)
    name = "<img src=x onerror='alert(1)' title=\"\">&amp;"
    np.save(f"{name}.npy", np.eye(3))
    data = {"kind": "file", "path": f"{name}.npy", "domain": "sphere"}
    folders = [run(shell, f"{name}{i}", data=data, metrics=[{"kind": "marked"}]) for i in range(2)]
    assert shell("report", *folders, "--out", "both.html").code == 0
    text = Path("both.html").read_text()
    page = Page(text)
    assert "img" not in page.tags
    assert EVIL not in text
    assert name not in text
    figures = json.loads(page.scripts["figures"])
    assert [trace["name"] for trace in figures["main"]["data"]] == [html.escape(f"{name}{i}") for i in range(2)]
    assert figures["main"]["layout"]["annotations"][0]["text"] == f"<b>{html.escape(EVIL)}</b>"


def test_a_run_without_snapshots_says_how_to_get_them(shell: Shell) -> None:
    assert shell("report", str(run(shell, observers=["checkpoint"]))).code == 0
    assert "No snapshots were saved: put <code>" in Path("run/report.html").read_text()


def test_no_run_no_report(shell: Shell) -> None:
    said = shell("report", "nowhere")
    assert said.code == 2
    assert "nowhere: not a run folder" in said.err


def test_data_that_are_gone_leave_the_points(shell: Shell, registry: Registry) -> None:
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)))
    data = {"kind": "file", "path": "x.npy", "domain": {"kind": "euclidean", "base": "gaussian"}}
    folder = run(shell, data=data, coupling__feature={"kind": "relu-affine"}, metrics=[{"kind": "tv"}])
    whole = replay(read(folder, registry), registry)
    Path("x.npy").unlink()
    rest = replay(read(folder, registry), registry)
    assert whole is not None
    assert rest is not None
    assert [view["densities"] is None for view in whole["views"]] == [False, True]
    assert [view["densities"] is None for view in rest["views"]] == [True, True]
    assert [view["measures"] for view in whole["views"]] == [view["measures"] for view in rest["views"]]


def test_points_and_weights_come_back_as_they_were(shell: Shell, registry: Registry) -> None:
    run_ = read(run(shell), registry)
    shown = replay(run_, registry)
    assert shown is not None
    (view,) = shown["views"]
    measures = {measure["name"]: measure for measure in view["measures"]}
    assert [measures[name]["moves"] for name in ("nu", "gamma", "data", "teacher")] == [True, True, False, False]
    gamma = snapshots(run_.folder, registry)[-1]["gamma"]
    points = np.frombuffer(base64.b64decode(measures["gamma"]["points"]), "<i2").reshape(-1, 8, 3)[-1] / 32767 * view["extent"]
    assert np.abs(points - gamma.points.numpy()).max() <= 0.5001 / 32767 * view["extent"]
    weights = np.frombuffer(base64.b64decode(measures["gamma"]["weights"]), np.int8).reshape(-1, 8)[-1]
    assert (np.sign(weights) == gamma.sign.numpy()).all()
    assert measures["nu"]["even"]


def test_the_size_of_a_replay_is_six_bytes_a_point(shell: Shell, registry: Registry) -> None:
    """200 snapshots of 5,000 points in three dimensions are 8 MB in base64; with plotly's script and densities, half of 30 MB."""
    run_ = read(run(shell), registry)
    shown = replay(run_, registry)
    assert shown is not None
    (nu,) = (measure for measure in shown["views"][0]["measures"] if measure["name"] == "nu")
    assert len(nu["points"]) == 4 * -(-len(shown["steps"]) * 20 * 3 * 2 // 3)
    assert nu["weights"] is None


def test_the_curves_share_one_zoom_and_any_clock(shell: Shell, registry: Registry) -> None:
    runs = read_all([run(shell, "one")], registry)
    main, parts = panels(runs[0].metrics, runs[0].written)
    assert (main, parts) == ([Panel("kl", ("kl",)), Panel("tv", ("tv",))], [])
    shown = figure(runs, ["one"], main)
    assert shown["layout"]["xaxis2"]["matches"] == "x"
    assert (shown["layout"]["yaxis"]["type"], shown["layout"]["yaxis2"]["type"]) == ("log", "linear")
    assert list(shown["clocks"][0]) == ["iterations", "particle time", "neuron time", "seconds"]
    assert shown["clocks"][0]["neuron time"] == pytest.approx([0.0, 0.02, 0.04, 0.06])
    assert shown["data"][0]["y"] == list(runs[0].series("kl")[1])


def test_a_part_is_apart_only_where_its_whole_is_shown(shell: Shell, registry: Registry) -> None:
    folder = run(shell, metrics=[{"kind": "energy"}, {"kind": "nll"}])
    one = read(folder, registry)
    main, parts = panels(one.metrics, one.written)
    assert main == [Panel("energy", ("energy.nu", "energy.data")), Panel("nll", ("nll",))]
    assert parts == ["nll.log_z", "nll.error", "nll.ess"]
    assert panels(["nll.error", "tv.mu"], [("nll", "nll.error"), ("tv.mu",)]) == (
        [Panel("nll.error", ("nll.error",)), Panel("tv.mu", ("tv.mu",))],
        [],
    )
    nu, data, nll = figure([one], ["one"], main)["data"]
    assert (nu["yaxis"], data["yaxis"], nll["yaxis"]) == ("y", "y", "y2")
    assert nu["line"]["dash"] != data["line"]["dash"]
    assert nll["error_y"]["array"] == list(one.series("nll.error")[1])
    assert "error_y" not in nu


def test_the_page_says_the_signs_in_the_colours_of_the_figures(shell: Shell) -> None:
    assert shell("report", run(shell)).code == 0
    text = Path("run/report.html").read_text()
    assert json.loads(Page(text).scripts["signs"]) == {"positive": POSITIVE, "negative": NEGATIVE}
    assert "Orange carries positive mass, blue negative" in text


def test_one_window_for_the_plane_and_its_density(shell: Shell, registry: Registry) -> None:
    np.save("x.npy", np.random.default_rng(0).normal(size=(60, 2)) * [1.0, 0.1])
    data = {"kind": "file", "path": "x.npy", "domain": {"kind": "euclidean", "base": "gaussian"}}
    feature = {"kind": "gaussian", "length": 1.0}
    shown = replay(read(run(shell, data=data, coupling__feature=feature, metrics=[]), registry), registry)
    assert shown is not None
    (view,) = shown["views"]  # neurons live where the data do, some of them far away
    assert view["window"] == view["densities"]["extent"]
    left, right, bottom, top = view["window"]
    assert right - left == pytest.approx(top - bottom)
    points = np.load("x.npy").astype(np.float32)
    assert right - left == pytest.approx(1.5 * float(np.ptp(points[:, 0])), rel=1e-5)


def test_what_is_no_number_is_a_gap(shell: Shell, registry: Registry) -> None:
    folder = run(shell)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows[1]["kl"], rows[2]["kl"] = math.nan, math.inf
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert shell("report", str(folder)).code == 0

    def never(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    figures = json.loads(Page((folder / "report.html").read_text()).scripts["figures"], parse_constant=never)
    assert figures["main"]["data"][0]["y"] == [rows[0]["kl"], None, None, rows[3]["kl"]]
    assert figures["main"]["layout"]["yaxis"]["type"] == "log"


def test_a_run_without_metrics_has_a_report(shell: Shell) -> None:
    assert shell("report", str(run(shell, metrics=[]))).code == 0


def test_packing_rounds() -> None:
    assert base64.b64decode(packed(torch.tensor([1.4, -2.6, 300.0]), np.int16)) == np.array([1, -3, 300], "<i2").tobytes()


# References


def test_an_experiment_cites_what_it_uses(registry: Registry) -> None:
    found = [entry.split("{")[1].split(",")[0] for entry in cited(from_tables(SEEN, registry))]
    assert found == ["domingoenrich2021dual", "chizat2018interpolating", "paszke2019pytorch"]


def test_every_reference_is_used_and_every_use_has_one(registry: Registry) -> None:
    assert {key for keys in USED.values() for key in keys} | {"paszke2019pytorch"} == set(entries())
    assert [use for use in USED if use not in registry.components] == []
    for entry in entries().values():
        assert re.fullmatch(r"@\w+\{\w+,\n(  \w+ = \{.*\},\n)+  year = \{\d{4}\}\n\}", entry.strip()), entry


def test_no_density_of_the_student_where_a_frame_has_none(shell: Shell, registry: Registry) -> None:
    folder = run(
        shell,
        measures__gamma__init={"kind": "uniform", "size": 40, "signs": "positive"},
        observers=["checkpoint", {"kind": "snapshots", "atoms": 20}],
    )
    shown = replay(read(folder, registry), registry)  # at step 0 all masses are equal, later 20 of 40 say too little
    assert shown is not None
    assert shown["views"][0]["densities"] is None


def test_a_run_of_another_device_keeps_its_densities(shell: Shell, registry: Registry) -> None:
    folder = run(shell)
    resolved = folder / "resolved.toml"
    resolved.write_text(resolved.read_text().replace('device = "auto"', 'device = "cuda:7"'))
    shown = replay(read(folder, registry), registry)
    assert shown is not None
    assert shown["views"][0]["densities"] is not None
