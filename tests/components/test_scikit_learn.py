"""Data sets of scikit-learn: its rows, split once, and the message where it is absent."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_wine

from measureflow.api import Keyed, MeasureflowError, Setting
from measureflow_plugins import extras
from measureflow_plugins.domains.sphere import Sphere
from measureflow_plugins.sources.scikit_learn import ScikitLearn

SETTING = Setting(Keyed(0), torch.float64, torch.device("cpu"))


def test_its_rows_are_split_without_overlap() -> None:
    source = ScikitLearn("wine", test_fraction=0.25)
    world = source.world(SETTING)
    assert {name: mu.size for name, mu in world.measures.items()} == {"data": 134, "test": 44} == source.sizes()
    points = torch.cat([mu.points for mu in world.measures.values()]).numpy()
    rows = load_wine().data
    np.testing.assert_array_equal(points[np.lexsort(points.T)], rows[np.lexsort(rows.T)])
    assert ScikitLearn("wine").sizes() == {"data": 178}


def test_digits_are_points_of_a_sphere() -> None:
    world = ScikitLearn("digits", domain=Sphere(), normalise=True).world(SETTING)
    rows = load_digits().data
    cosines = (world.data.points.numpy() @ rows.T / np.linalg.norm(rows, axis=1)).max(1)
    np.testing.assert_allclose(cosines, 1, rtol=0, atol=64 * np.finfo(float).eps)  # a sum of 64 products
    with pytest.raises(MeasureflowError, match=r"data\.name: digits: .* normalise = true projects every row on it"):
        ScikitLearn("digits", domain=Sphere()).world(SETTING)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(extras.importlib, "import_module", absent)
    with pytest.raises(MeasureflowError, match=r"data: kind = 'scikit-learn' needs sklearn\.datasets.*measureflow\[sklearn\]"):
        ScikitLearn("digits").sizes()
