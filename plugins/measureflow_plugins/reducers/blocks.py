"""Sums over pairs cut into blocks: what the compiled loops read and write, and who does which part."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import attrs
import numpy as np
import torch
from torch import Tensor

from measureflow.feature import Form
from measureflow.measure import Field
from measureflow_plugins.reducers.compiler import formula
from measureflow_plugins.reducers.lanes import BLOCK, ROWS
from measureflow_plugins.reducers.loops import loops
from measureflow_plugins.reducers.traced import Scalar

CHUNKS = 64  # parts of the inputs: a fixed number, so that sums are the same for any number of threads
ROOM = 2**24  # numbers that the parts of all sums may take


@final
@attrs.frozen
class Formulas:
    """What is summed over pairs: the compiled profile and its derivative, None where they are not wanted."""

    form: Form
    kappa: Scalar | None
    slope: Scalar | None


def over_outputs(formulas: Formulas, X: Tensor, Y: Tensor, a: Tensor) -> Field:
    """The sums at X (n, d) over Y (m, d) with masses a (m,), in parallel over blocks of X."""
    value = None if formulas.kappa is None else X.new_zeros(X.shape[0], 1)
    grad = None if formulas.slope is None else X.new_zeros(X.shape)
    cuts = np.arange(-(-X.shape[0] // BLOCK) + 1)
    _run(loops()[0], formulas, (X.contiguous(), _padded(Y), _extended(a, ROWS)), (value, grad), cuts)
    return Field(None if value is None else value[:, 0], grad)


def over_inputs(formulas: Formulas, X: Tensor, Y: Tensor, a: Tensor) -> Field:
    """The same sums in parallel over chunks of Y, added up at the end."""
    points, blocks = _padded(X), -(-Y.shape[0] // BLOCK)
    chunks = max(1, min(blocks, CHUNKS, ROOM // max(points.numel(), 1)))
    value = None if formulas.kappa is None else X.new_zeros(chunks, points.shape[0])
    grad = None if formulas.slope is None else X.new_zeros(chunks, *points.shape)
    cuts = np.arange(chunks + 1) * blocks // chunks
    _run(loops()[1], formulas, (points, Y.contiguous(), _extended(a, BLOCK)), (value, grad), cuts)
    n, d = X.shape
    return Field(None if value is None else value.sum(0)[:n], None if grad is None else grad.sum(0)[:n, :d].contiguous())


def _padded(points: Tensor) -> Tensor:
    """Rows repeated and columns of zeros added up to what the loops take: multiples of ROWS and of 2."""
    n, d = points.shape
    padded = points.new_zeros(-(-n // ROWS) * ROWS, d + d % 2)
    padded[:n, :d] = points
    padded[n:, :d] = points[n - 1 : n]
    return padded


def _extended(a: Tensor, multiple: int) -> Tensor:
    """Masses with zeros up to a multiple."""
    return torch.cat([a, a.new_zeros(-a.shape[0] % multiple)])


def _run(
    loop: Callable[..., None],
    formulas: Formulas,
    read: tuple[Tensor, Tensor, Tensor],
    written: tuple[Tensor | None, Tensor | None],
    cuts: Any,
) -> None:
    """All chunks, shared out among as many threads as torch uses, this one included."""
    arrays = [None if part is None else part.detach().numpy() for part in (*read, *written)]
    pairs = (*couplings(formulas.form), formulas.kappa, formulas.slope)
    chunks = len(cuts) - 1
    threads = max(1, min(torch.get_num_threads(), chunks))
    bounds = [chunks * thread // threads for thread in range(threads + 1)]
    share = functools.partial(loop, *arrays[:3], *pairs, *arrays[3:], cuts)
    others = [_pool(os.getpid()).submit(share, *bounds[i : i + 2]) for i in range(1, threads)]
    share(*bounds[:2])
    for other in others:
        other.result()


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """This process's threads; a child that was forked off has none of its parent's."""
    return ThreadPoolExecutor(os.cpu_count(), f"measureflow-{process}")


@functools.cache
def couplings(form: Form) -> tuple[Scalar, Scalar]:
    """`term(x, y)`, what a coordinate adds to the profile's argument, and `toward(x, y)`, the factor of its derivative."""
    if form == "dot":
        return formula(lambda x, y: x * y), formula(lambda x, y: y)
    return formula(lambda x, y: (x - y) * (x - y)), formula(lambda x, y: x - y)
