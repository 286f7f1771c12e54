"""Single values that `check` refuses with a message, before anything runs."""

import math
from pathlib import Path

import numpy as np
import pytest

from measureflow.config import structure as config
from measureflow.config.memory import spaces
from measureflow.config.validate import from_tables
from measureflow.errors import ConfigError
from measureflow.plugins.registry import Registry
from measureflow.testing.trial import SMALL
from measureflow_plugins.sources._arrays import read_array
from measureflow_tools.sweeps.grid import MOST, members

POINTS = {"kind": "file", "path": "x.csv"}


def refused(registry: Registry, **changes: object) -> str:
    with pytest.raises(ConfigError) as problems:
        from_tables({**SMALL, **changes}, registry)
    return "\n".join(problems.value.problems)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 10**400}, "steps = 2^1329 or so: must be a finite number"),
        ({"observers": [{"kind": "snapshots", "count": 10**9}]}, "count = 1000000000: must be"),
        (
            {"data": {"kind": "teacher", "neurons": {"angle": 1.0, "dim": 10**12}, "weights": [1, 1], "train": 2}},
            "from 2 to 1,000,000",
        ),
        ({"device": "hpu"}, "device: 'hpu'"),
        ({"metrics": ["nll"], "data": {**SMALL["data"], "test": 0}}, "the data bring it with data.test"),
    ],
)
def test_a_value_without_sense_is_refused(registry: Registry, changes: dict[str, object], words: str) -> None:
    assert words in refused(registry, **changes)


@pytest.mark.parametrize(
    ("text", "words"), [("1,nan\n", "row 0 is not finite"), ("1,inf\n", "not finite"), ("", "holds no points")]
)
def test_a_file_that_a_run_would_refuse_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text(text)
    assert words in refused(registry, data=POINTS, metrics=["nll"])


def test_points_off_the_sphere_are_refused(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("1,2,3\n")
    assert "away from the sphere" in refused(registry, data={**POINTS, "domain": "sphere"})


def test_a_trained_measure_lives_where_its_feature_says(registry: Registry) -> None:
    e = from_tables(
        {
            **SMALL,
            "data": {"kind": "space", "domain": "euclidean", "dim": 2},
            "coupling": {"kind": "gibbs", "feature": "relu-affine", "measure": "gamma"},
            "measures": {
                "nu": {"init": {"kind": "uniform", "size": 3}, "flows": ["langevin"]},
                "gamma": {"init": {"kind": "uniform", "size": 4}},
            },
        },
        registry,
    )
    assert spaces(e)["gamma"] == e.coupling.feature.parameter_space(e.data.space())  # type: ignore[attr-defined]
    assert spaces(e)["nu"] == e.data.space()


@pytest.mark.parametrize("setting", ["measures.gamma.flows.\u00b2.rate=5", "seed=1\nsteps=9"])
def test_a_setting_is_one_value_at_one_path(setting: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.override({"measures": {"gamma": {"flows": [{"rate": 1}] * 3}}}, setting)


@pytest.mark.parametrize("own", [{"seeds": 10**9}, {"grid": {name: list(range(1, 30)) for name in ("step", "steps", "seed_")}}])
def test_a_sweep_has_a_bound(registry: Registry, own: dict[str, object]) -> None:
    assert math.prod([29] * 3) > MOST
    with pytest.raises(Exception, match="10,000"):
        members(own, {**SMALL, "seed_": 1}, registry, "sweep.toml")


def test_a_csv_is_parsed_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    loadtxt = np.loadtxt
    monkeypatch.setattr(np, "loadtxt", lambda *given, **named: calls.append(1) or loadtxt(*given, **named))
    path = tmp_path / "x.csv"
    path.write_text("1,2\n")
    first = read_array(path, "data.path")
    first[:] = 0  # what is read is the caller's own
    assert read_array(path, "data.path").tolist() == [[1, 2]]
    assert len(calls) == 1
    path.write_text("1,2\n3,4\n")
    assert read_array(path, "data.path").tolist() == [[1, 2], [3, 4]]
