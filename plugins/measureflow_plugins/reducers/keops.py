"""The KeOps reducer; the only file that imports pykeops, on first use, because importing it probes CUDA and prints."""

import contextlib
import functools
import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import attrs
import torch
from filelock import FileLock
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need
from measureflow.errors import MeasureflowError
from measureflow.reduction.reducer import Local

Scheme = Literal["auto", "1D", "2D"]
FEW_OUTPUTS = 8192  # KeOps 1D gives each output one thread: with fewer outputs than this a GPU is mostly idle


@final
@attrs.frozen
class KeOps(Local):
    """One fused KeOps reduction for value and gradient: the path for large kernels on a GPU, a second opinion on a CPU.

    Each formula and width is compiled at first use (5 to 20 s, then cached on disk). On a GPU `scheme` "1D" gives each output
    a thread, "2D" cuts the sum too, "auto" is 1D for many outputs and 2D for few; a CPU knows one scheme. Raises
    MeasureflowError where the compiler is missing or fails.
    """

    kind: ClassVar[str] = "keops"
    scheme: Scheme = "auto"

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        x, y, argument = _pair(phi, X, Y)
        parts = []
        if Need.VALUE in need:
            parts.append(phi.profile(argument, 0))
        if Need.GRAD in need:
            slope = phi.profile(argument, 1)
            parts.append(slope * y if phi.form == "dot" else (2.0 * slope) * (x - y))
        weigh = 1 if a is None else _symbols()[1](a.contiguous()[:, None])
        return _field([part if a is None else part * weigh for part in parts], X, need, self.scheme)

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        x, y, argument = _pair(phi, X, Y)
        v = _symbols()[1](V.contiguous())
        along = (x * v).sum(-1) if phi.form == "dot" else ((x - y) * v).sum(-1)
        slope = phi.profile(argument, 1)
        parts = []
        if Need.VALUE in need:
            parts.append(slope * along if phi.form == "dot" else (-2.0 * slope) * along)
        if Need.GRAD in need:
            bend = phi.profile(argument, 2) * along
            parts.append(bend * y + slope * v if phi.form == "dot" else (-4.0 * bend) * (x - y) + (-2.0 * slope) * v)
        return _field(parts, X, need, self.scheme)

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        _, _, argument = _pair(phi, X, Y)
        formula = phi.profile(argument, 0) * _symbols()[1](V.contiguous())
        return _compiled(formula, X, self.scheme)


def _pair(phi: Feature, X: Tensor, Y: Tensor) -> tuple[Any, Any, Any]:
    """Symbolic x_i, y_j and the profile's argument; raises MeasureflowError where KeOps cannot take the feature."""
    if phi.form == "autograd":
        raise MeasureflowError('reducer: KeOps cannot differentiate a torch function; reducer = "chunked" can')
    Vi, Vj = _symbols()
    x, y = Vi(X.contiguous()), Vj(Y.contiguous())
    return x, y, (x * y).sum(-1) if phi.form == "dot" else x.sqdist(y)


def _field(parts: list[Any], X: Tensor, need: Need, scheme: Scheme) -> Field:
    """One reduction for value and gradient together."""
    formula = parts[0] if len(parts) == 1 else parts[0].concat(parts[1])
    sums = _compiled(formula, X, scheme)
    width = 1 if Need.VALUE in need else 0
    value = sums[:, 0].contiguous() if width else None
    return Field(value, sums[:, width:].contiguous() if Need.GRAD in need else None)


def _backend(X: Tensor, scheme: Scheme) -> str:
    if X.device.type != "cuda":
        return "CPU"
    if scheme == "auto":
        scheme = "2D" if X.shape[0] < FEW_OUTPUTS else "1D"
    return f"GPU_{scheme}"


LOCK = Path(tempfile.gettempdir()) / f"measureflow-keops-{os.getuid()}.lock"


@functools.cache
def trouble(device: str) -> str | None:
    """Why KeOps cannot sum on "cpu" or "cuda" here; None if it can.

    Tried in a process of its own: with a CUDA toolkit that does not fit the driver, KeOps can end its process.
    """
    code = f"from measureflow_plugins.reducers.keops import attempt; attempt({device!r})"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return said[-1] if said and done.returncode > 0 else f"its process ended with code {done.returncode}"


def attempt(device: str) -> None:
    """One small sum, as `trouble` tries it."""
    Vi, Vj = _symbols()
    X = torch.arange(24.0, device=device).reshape(8, 3)
    _once(Vi(X).sqdist(Vj(X)), _backend(X, "auto"), True)


@functools.cache
def _symbols() -> tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]:
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")
    try:
        with FileLock(LOCK), contextlib.redirect_stdout(io.StringIO()):  # its first import compiles
            from pykeops.torch import Vi, Vj
    except Exception as error:
        raise MeasureflowError(f"KeOps could not be imported ({error}); {_ADVICE}") from error
    return Vi, Vj


_ADVICE = 'it needs a C++ compiler (g++ or clang) and, for a GPU, the CUDA toolkit; reducer = "chunked" runs without it'


def _compiled(formula: Any, X: Tensor, scheme: Scheme) -> Tensor:
    """The sum over j. KeOps' cache of compiled formulas has no lock: a formula's first use holds one between processes."""
    backend = _backend(X, scheme)
    key = (re.sub(r"Var\(\d+,", "Var(", formula.formula), X.dtype, backend)  # without the numbers of this call's tensors
    first = key not in _used()
    if first and X.device.type == "cuda" and (why := trouble("cuda")):
        raise MeasureflowError(f"KeOps cannot run on this GPU ({why}); {_ADVICE}")
    sums = _once(formula, backend, first)
    _used().add(key)
    return sums if sums.shape[0] == X.shape[0] else sums.repeat(X.shape[0], 1)  # a formula without x_i is summed once for all


def _once(formula: Any, backend: str, first: bool) -> Tensor:
    try:
        with FileLock(LOCK) if first else contextlib.nullcontext(), contextlib.redirect_stdout(io.StringIO()):
            sums: Tensor = formula.sum(1, backend=backend)
    except (Exception, SystemExit) as error:
        last = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise MeasureflowError(f"KeOps could not compile or run its kernel ({last}); {_ADVICE}") from error
    return sums


@functools.cache
def _used() -> set[object]:
    """The formulas this process has compiled or loaded."""
    return set()
