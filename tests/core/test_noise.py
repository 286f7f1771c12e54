"""Noise: the same for any cut of the rows, different for any other key, and of the right law."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from measureflow.core.measure import Particles
from measureflow.core.noise import Keyed, Noise
from measureflow_plugins.domains.euclidean import Euclidean

LIKE = torch.empty(0, dtype=torch.float64)


def particles(n: int, d: int = 2) -> Particles:
    return Particles.uniform(torch.zeros(n, d, dtype=torch.float64), Euclidean())


@given(n=st.integers(1, 3000), cuts=st.lists(st.integers(0, 3000), max_size=4))
@settings(max_examples=60, deadline=None)
def test_rows_are_the_same_however_they_are_cut(n: int, cuts: list[int]) -> None:
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    noise = Keyed(7).at("nu", 3, 1)
    for draw in (
        lambda rows: noise.normal_rows(rows, 3, LIKE, "a"),
        lambda rows: noise.uniform_rows(rows, LIKE, "a"),
        lambda rows: noise.index_rows(rows, 17, LIKE, "a"),
    ):
        whole = draw(range(n))
        assert torch.equal(torch.cat([draw(range(i, j)) for i, j in itertools.pairwise(edges)]), whole)


@given(half=st.integers(1, 1500), cut=st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_antithetic_pairs_and_blocks(half: int, cut: int) -> None:
    mu, noise = particles(2 * half), Keyed(1).at("nu", 0, 0)
    whole = noise.antithetic(mu)
    assert torch.equal(whole[half:], -whole[:half])
    cut = min(cut, 2 * half)
    parts = [noise.antithetic(mu.block(a, b)) for a, b in ((0, cut), (cut, 2 * half)) if a < b]
    assert torch.equal(torch.cat(parts), whole)


def test_odd_antithetic_is_refused() -> None:
    with pytest.raises(ValueError, match="N = 5 is odd"):
        Keyed(0).antithetic(particles(5))


def test_every_part_of_the_key_matters() -> None:
    base = Keyed(0).at("nu", 1, 0)
    others: list[tuple[Noise, str]] = [
        (Keyed(1).at("nu", 1, 0), ""), (Keyed(0).at("gamma", 1, 0), ""), (Keyed(0).at("nu", 2, 0), ""),
        (Keyed(0).at("nu", 1, 1), ""), (base, "other"), (Keyed(0).at("nu", 1), ""),
    ]  # fmt: skip
    mu = particles(1)
    draws = [base.normal(mu), *(noise.normal(mu, draw) for noise, draw in others)]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws)


def test_law() -> None:
    n = 200_000
    noise = Keyed(5).at("x", 0, 0)
    z, u, i = (
        noise.normal_rows(range(n), 1, LIKE, ""),
        noise.uniform_rows(range(n), LIKE, ""),
        noise.index_rows(range(n), 5, LIKE, ""),
    )
    assert abs(float(z.mean())) < 5 / math.sqrt(n)
    assert abs(float(z.var()) - 1) < 5 * math.sqrt(2 / n)
    assert abs(float(z.pow(4).mean()) - 3) < 5 * math.sqrt(96 / n)
    assert abs(float(u.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / n)
    counts = torch.bincount(i, minlength=5).double()
    assert float(((counts - n / 5) ** 2 / (n / 5)).sum()) < 23.5  # 1e-4 quantile of chi^2 with 4 degrees of freedom
    lag = float((z[1024:] * z[:-1024]).mean())  # neighbouring blocks must not repeat each other
    assert abs(lag) < 5 / math.sqrt(n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [1, 3, 15])
def test_any_rows_are_those_of_the_whole(width: int, dtype: torch.dtype) -> None:
    """A part of a block is drawn as far as it reaches, which must not change its numbers."""
    noise, like = Keyed(5), torch.empty(0, dtype=dtype)
    whole = range(2100)
    normal, uniform, index = (
        noise.normal_rows(whole, width, like, "a"),
        noise.uniform_rows(whole, like, "b"),
        noise.index_rows(whole, 7, like, "c"),
    )
    for rows in (range(1), range(5), range(16), range(17, 40), range(1000, 1030), range(1024, 1041), range(1500, 2100)):
        part = slice(rows.start, rows.stop)
        assert torch.equal(noise.normal_rows(rows, width, like, "a"), normal[part])
        assert torch.equal(noise.uniform_rows(rows, like, "b"), uniform[part])
        assert torch.equal(noise.index_rows(rows, 7, like, "c"), index[part])
