"""From Python and in notebooks: tables in place of numbers, a progress bar, and runs without a folder."""

import functools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from rich.console import Console
from small import TABLES, Shell

from measureflow.api import Built, Experiment, MeasureflowError, Particles, System, build, from_tables, load_plugins, play
from measureflow.plugins.registry import Registry
from measureflow.run.metrics_log import read_metrics
from measureflow.run.runner import Asked, start
from measureflow_plugins.domains.euclidean import Euclidean
from measureflow_plugins.domains.sphere import Sphere


def shown(value: object) -> str:
    """The HTML that a notebook shows."""
    data, _ = DisplayFormatter().format(value)
    return str(data["text/html"])


def small(registry: Registry, **changes: Any) -> Experiment:
    return from_tables({**TABLES, **changes}, registry)


@pytest.fixture
def mu() -> Particles:
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    log_mass = torch.tensor([2.0, 0.5, 0.25], dtype=torch.float64).log()
    return Particles(points, torch.tensor([1.0, -1.0, 1.0]).double(), log_mass, Sphere(), {"momentum": points})


def cells(html: str) -> list[str]:
    return [part.split("<")[0] for part in html.split('left">')[1:]]


def test_particles_show_sizes_and_mass(mu: Particles) -> None:
    head, row = cells(shown(mu))[:7], cells(shown(mu))[7:]
    assert dict(zip(head, row, strict=True)) == {
        "atoms": "3", "d": "2", "domain": "Sphere()", "dtype": "float64", "device": "cpu", "marks": "momentum", "mass": "1.75",
    }  # fmt: skip


def test_a_system_has_a_row_for_each_measure(mu: Particles) -> None:
    nu = Particles.uniform(torch.zeros(2000, 5), Euclidean(), total=0.5)
    system = System({"gamma": mu, "nu": nu}, 4, 0.125)
    html = shown(system)
    assert "<caption>System at step 4, time 0.125</caption>" in html
    assert html.count("<tr>") == 3
    assert cells(html)[8:12] == ["gamma", "3", "2", "Sphere()"]
    assert cells(html)[16:19] == ["nu", "2,000", "5"]
    assert cells(html)[-1] == "0.5"
    text = repr(system)
    assert text.startswith("System(step=4, time=0.125, gamma=Particles(3 x 2 on Sphere(), float64, cpu), nu=Particles(2000 x 5")
    assert "tensor(" not in text


def test_names_are_escaped(mu: Particles) -> None:
    html = shown(System({"<b>&": mu}))
    assert "&lt;b&gt;&amp;" in html
    assert "<b>" not in html


def test_what_is_built_shows_its_flows(registry: Registry) -> None:
    built = build(small(registry), registry)
    assert "<caption>dual-ebm, sequential, h = 0.01</caption>" in shown(built)
    assert cells(shown(built))[2:6] == ["nu", "restart, langevin", "gamma", "wfr, tv-ball"]
    assert shown(built).endswith(shown(built.system))
    assert repr(built) == f"Built(dual-ebm, sequential, h = 0.01, {built.system!r})"


def test_an_experiment_shows_as_its_file(registry: Registry) -> None:
    html = shown(small(registry, name="mine"))
    assert html.startswith("<pre>name = &quot;mine&quot;\n")
    assert "radius = 5.0" in html


def test_a_repr_reads_no_data(registry: Registry) -> None:
    """On torch's meta device there are none to read."""
    points = torch.zeros(10_000_000, 3, device="meta")
    system = System({"mu": Particles.uniform(points, Euclidean())})
    built = build(small(registry), registry)
    assert "10000000 x 3" in repr(system)
    assert "10000000 x 3" in repr(Built(system, built.dynamics, built.view))


# --- play ---


def test_play_measures_as_a_run_does_and_writes_nothing(shell: Shell, registry: Registry) -> None:
    e = small(registry, steps=8)
    played = list(play(e, registry, quiet=True))
    assert list(Path().iterdir()) == []
    last = start(e, registry, Asked(Path("new"), quiet=True), "")
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in read_metrics(Path("new"))]
    assert [{"step": system.step, **row} for system, row in played] == rows
    assert torch.equal(played[-1][0]["gamma"].points, last["gamma"].points)
    assert shell.capsys.readouterr() == ("", "")


def test_play_tells_progress_and_problems(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in play(small(registry), registry):
        pass
    assert "small 3/3 kl" in capsys.readouterr().err
    for _ in play(small(registry, observers=[]), registry):
        pass
    assert capsys.readouterr().err == ""
    with pytest.raises(MeasureflowError, match="became non-finite"):
        list(play(small(registry, step=1e18, steps=50), load_plugins(), quiet=True))


# --- the bar in a notebook ---


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Makes consoles be those of a notebook; what they display."""
    found: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *given, **_: found.extend(given))
    monkeypatch.setattr("measureflow_plugins.observers.progress.Console", functools.partial(Console, force_jupyter=True))
    return found


def test_a_notebook_shows_the_bar(registry: Registry, displayed: list[Any]) -> None:
    for _ in play(small(registry), registry):
        pass
    assert "Output" in [type(each).__name__ for each in displayed]
    bars = [each._repr_mimebundle_([], [])["text/plain"] for each in displayed if type(each).__name__ == "JupyterRenderable"]
    assert any("small" in bar and "3/3" in bar for bar in bars)


def test_a_notebook_without_widgets_shows_lines(registry: Registry, displayed: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    for _ in play(small(registry), registry):
        pass
    lines = [each._repr_mimebundle_([], [])["text/plain"] for each in displayed]
    assert lines[-1].startswith("small 3/3 kl")
