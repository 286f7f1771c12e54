"""Sums over pairs cut into pieces: what the compiled loops read and write, and how parts are put together."""

from collections.abc import Callable
from typing import Any, final

import attrs
import numpy as np
import torch
from torch import Tensor

from measureflow.core.feature import Form
from measureflow.core.measure import Field
from measureflow_plugins.reducers.jobs import JOB, job_function
from measureflow_plugins.reducers.lanes import BLOCK, ROWS
from measureflow_plugins.reducers.loops import by_inputs, by_outputs
from measureflow_plugins.reducers.threads import on_every_thread
from measureflow_plugins.reducers.traced import Scalar

PARTS = 64  # of the inputs: a fixed number, so that sums are the same for any number of threads
ROOM = 2**24  # numbers that the parts of all sums may take


@final
@attrs.frozen
class Formulas:
    """What is summed over pairs: the profile and the factor of its gradient, None where they are not wanted."""

    form: Form
    kappa: Scalar | None
    slope: Scalar | None


def over_outputs(formulas: Formulas, X: Tensor, Y: Tensor, a: Tensor) -> Field:
    """The sums at X (n, d) over Y (m, d) with masses a (m,), shared out by blocks of X."""
    blocks = -(-X.shape[0] // BLOCK)
    value, grad = _done(by_outputs, formulas, X.contiguous(), _padded(Y), _extended(a, ROWS), 1, blocks)
    return Field(None if value is None else value[0], None if grad is None else grad[0])


def over_inputs(formulas: Formulas, X: Tensor, Y: Tensor, a: Tensor) -> Field:
    """The same sums, shared out by parts of Y and added up at the end."""
    n, d = X.shape
    X = _padded(X)
    parts = max(1, min(-(-Y.shape[0] // BLOCK), PARTS, ROOM // max(X.numel(), 1)))
    value, grad = _done(by_inputs, formulas, X, Y.contiguous(), _extended(a, BLOCK), parts, parts)
    return Field(None if value is None else value.sum(0)[:n], None if grad is None else grad.sum(0)[:n, :d].contiguous())


def _padded(points: Tensor) -> Tensor:
    """Rows repeated and a column of zeros added, up to what the loops take: multiples of ROWS and of 2."""
    n, d = points.shape
    padded = points.new_zeros(-(-n // ROWS) * ROWS, d + d % 2)
    padded[:n, :d] = points
    padded[n:, :d] = points[n - 1 : n]
    return padded


def _extended(a: Tensor, multiple: int) -> Tensor:
    """Masses with zeros up to a multiple."""
    return torch.cat([a, a.new_zeros(-a.shape[0] % multiple)])


def _done(
    way: Callable[..., None], formulas: Formulas, X: Tensor, Y: Tensor, a: Tensor, parts: int, pieces: int
) -> tuple[Tensor | None, Tensor | None]:
    """value (parts, n) and grad (parts, n, d), as far as wanted."""
    value = None if formulas.kappa is None else X.new_zeros(parts, X.shape[0])
    grad = None if formulas.slope is None else X.new_zeros(parts, *X.shape)
    addresses: list[Any] = [0 if array is None else array.data_ptr() for array in (X, Y, a, value, grad)]
    job = np.array((*addresses, *X.shape, *Y.shape, a.shape[0], parts, pieces), JOB)
    function = job_function(way, formulas.form, formulas.kappa, formulas.slope, X.dtype == torch.float64)
    on_every_thread(function.address, job.ctypes.data)
    return value, grad
