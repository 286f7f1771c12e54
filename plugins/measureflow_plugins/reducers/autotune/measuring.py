"""Measures what sums cost on this machine, for the planner's table."""

import itertools
from collections.abc import Iterable, Iterator
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Need
from measureflow.reduction.reducer import Local, Op, Request, request
from measureflow_plugins.features.arc_cosine import ArcCosine
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.relu import Relu
from measureflow_plugins.reducers.autotune.candidates import candidates, failing
from measureflow_plugins.reducers.autotune.clock import alternating
from measureflow_plugins.reducers.autotune.costs import Row, what

ROUNDS = 3
TALL = [(300, 64, 3), (2_000, 64, 15), (20_000, 8, 15), (20_000, 64, 3), (20_000, 64, 15), (20_000, 64, 100), (200_000, 16, 3),
        (100_000, 64, 15), (20_000, 512, 15), (3_000, 3_000, 3), (3_000, 3_000, 15), (5_000, 1_000, 60)]  # fmt: skip
SHAPES = [*TALL, *((m, n, d) for n, m, d in TALL if n > m)]


@final
@attrs.frozen
class Work:
    """One kind of sums at one shape."""

    phi: Feature
    op: Op
    need: Need
    dtype: torch.dtype
    shape: tuple[int, int, int]

    @property
    def kind(self) -> str:
        """Profile, sums and precision, in words."""
        asked = self.request(torch.device("cpu"))
        return f"{asked.profile} {what(asked)} {str(self.dtype).removeprefix('torch.')}"

    def request(self, device: torch.device) -> Request:
        n, m, d = self.shape
        empty = torch.empty(0, d, dtype=self.dtype, device=device)
        return attrs.evolve(request(self.op, self.phi, empty, empty, self.need), n_out=n, n_in=m)


def works(dtype: str | None = None) -> list[Work]:
    """Everything that a table has, kind by kind, so that each formula is compiled once; first what experiments ask for most."""
    kinds: list[tuple[str, Op, Need]] = [
        ("relu", "sums", Need.GRAD), ("relu", "sums", Need.VALUE),
        *itertools.product(("gaussian", "arc-cosine"), ("sums",), (Need.GRAD, Need.VALUE, Need.BOTH)),
        ("relu", "directed", Need.GRAD), ("gaussian", "directed", Need.GRAD), ("gaussian", "vectors", Need.VALUE),
    ]  # fmt: skip
    return [
        Work(_feature(profile, op, shape[2]), op, need, getattr(torch, name), shape)
        for name in ("float32", "float64")
        if dtype in (None, name)
        for profile, op, need in kinds
        for shape in SHAPES
    ]


def by_kind(asked: Iterable[Work]) -> dict[str, list[Work]]:
    """Works by the kind of their sums: `relu sums GRAD float32`, say."""
    kinds: dict[str, list[Work]] = {}
    for work in asked:
        kinds.setdefault(work.kind, []).append(work)
    return kinds


def _feature(profile: str, op: Op, d: int) -> Feature:
    if profile == "relu":
        return Relu(2 if op == "directed" else 1)  # directed sums need a second derivative
    return Gaussian() if profile == "gaussian" else ArcCosine(d)


@final
@attrs.frozen(eq=False)
class Call:
    """The sums of a work by one reducer, to be called with nothing."""

    reducer: Local
    work: Work
    X: Tensor
    Y: Tensor
    V: Tensor

    def __call__(self) -> object:
        phi, need = self.work.phi, self.work.need
        if self.work.op == "sums":
            return self.reducer.sums(phi, self.X, self.Y, None, need)
        if self.work.op == "directed":
            return self.reducer.directed_sums(phi, self.X, self.Y, self.V, need)
        return self.reducer.vector_sums(phi, self.X, self.Y, self.V)


def measured(work: Work, device: torch.device, rounds: int = ROUNDS) -> Iterator[tuple[Row, float]]:
    """A row for each candidate that can be tried, its least disturbed of some runs in turn, and how long its first use took."""
    asked = work.request(device)
    X, Y, V = (_points(rows, work, device, seed) for seed, rows in enumerate((asked.n_out, asked.n_in, asked.n_in)))
    there = [c for c in candidates(asked) if c.reducer.kind not in failing(device)]
    calls = [Call(c.reducer, work, X, Y, V) for c in there]
    firsts = [taken for (taken,) in alternating(calls, 1, device)]
    times = alternating(calls, rounds, device)
    for candidate, first, taken in zip(there, firsts, times, strict=True):
        yield Row.of(asked, candidate.name, min(taken)), first


def _points(rows: int, work: Work, device: torch.device, seed: int) -> Tensor:
    """Points of a sphere, where every profile is at home."""
    generator = torch.Generator(device).manual_seed(seed)
    normal = torch.randn(rows, work.shape[2], generator=generator, dtype=work.dtype, device=device)
    return torch.nn.functional.normalize(normal)
