"""The KeOps reducer; the only file that imports pykeops, on first use, because importing it probes CUDA and prints."""

import contextlib
import functools
import io
import os
from collections.abc import Callable
from typing import Any, ClassVar, final

import attrs
from torch import Tensor

from measureflow.errors import MeasureflowError
from measureflow.feature import Feature
from measureflow.measure import Field, Need
from measureflow.reduce import Local

FEW_OUTPUTS = 8192  # KeOps 1D gives each output one thread: with fewer outputs than this a GPU is mostly idle


@final
@attrs.frozen
class KeOps(Local):
    """One fused KeOps reduction for value and gradient: the path for large kernels on a GPU, a second opinion on a CPU.

    Each formula and width is compiled at first use (5 to 20 s, then cached on disk). On a GPU the scheme is chosen by the
    number of outputs: GPU_1D for many, GPU_2D, which cuts the sum too, for few. Raises MeasureflowError where the
    compiler is missing or fails.
    """

    kind: ClassVar[str] = "keops"

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        n = X.shape[0]
        if n == 0 or Y.shape[0] == 0:
            return Field(X.new_zeros(n) if Need.VALUE in need else None, X.new_zeros(X.shape) if Need.GRAD in need else None)
        Vi, Vj = _symbols()
        x, y = Vi(X.contiguous()), Vj(Y.contiguous())
        argument = (x * y).sum(-1) if phi.form == "dot" else x.sqdist(y)
        parts = []
        if Need.VALUE in need:
            parts.append(phi.profile(argument, 0))
        if Need.GRAD in need:
            slope = phi.profile(argument, 1)
            parts.append(slope * y if phi.form == "dot" else (2.0 * slope) * (x - y))
        formula = parts[0] if len(parts) == 1 else parts[0].concat(parts[1])
        if a is not None:
            formula = formula * Vj(a.contiguous()[:, None])
        sums = _compiled(lambda: formula.sum(1, backend=_backend(X)))
        width = 1 if Need.VALUE in need else 0
        value = sums[:, 0].contiguous() if width else None
        return Field(value, sums[:, width:].contiguous() if Need.GRAD in need else None)


def _backend(X: Tensor) -> str:
    if X.device.type != "cuda":
        return "CPU"
    return "GPU_2D" if X.shape[0] < FEW_OUTPUTS else "GPU_1D"


@functools.cache
def _symbols() -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]:
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            from pykeops.torch import Vi, Vj
    except Exception as error:
        raise MeasureflowError(f"KeOps could not be imported ({error}); {_ADVICE}") from error
    return Vi, Vj


_ADVICE = 'it needs a C++ compiler (g++ or clang) and, for a GPU, the CUDA toolkit; reducer = "chunked" runs without it'


def _compiled(run: Callable[[], Tensor]) -> Tensor:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return run()
    except (Exception, SystemExit) as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise MeasureflowError(f"KeOps could not compile or run its kernel ({last}); {_ADVICE}") from error
