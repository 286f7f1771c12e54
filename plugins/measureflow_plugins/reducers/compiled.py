"""The compiled reducer: one pass over the pairs on the CPU, in blocks that stay in the first cache."""

from typing import Any, ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.feature import Feature
from measureflow.core.measure import Field, Need
from measureflow.reduction.chunked import Chunked
from measureflow.reduction.reducer import Local, Request, request
from measureflow_plugins.reducers.blocks import Formulas, over_inputs, over_outputs
from measureflow_plugins.reducers.threads import openmp
from measureflow_plugins.reducers.traced import compiled, recorded

DTYPES = (torch.float32, torch.float64)
MANY = 4096  # outputs, from which on blocks of outputs keep every thread busy


@final
@attrs.frozen
class Compiled(Local):
    """Profile and products in one loop over the pairs, which numba compiles at each formula's first use in a process (1 to 4 s).

    It takes sums of values and gradients of form "dot" and "radial", in float32 and float64 on the CPU; those that it
    `declines`, all directed sums and all vector sums are `Chunked`'s. Results do not depend on the number of threads. Raises
    MeasureflowError where numba is missing (pip install "measureflow[compiled]").
    """

    kind: ClassVar[str] = "compiled"

    def declines(self, phi: Feature, request: Request) -> str | None:
        """Why such sums are left to `Chunked`; None where they are compiled."""
        if phi.form == "autograd":
            return f"{phi.kind} is a torch function, which only torch can differentiate"
        if why := unfit(request):
            return why
        if openmp() is None:
            return "this build of torch has no OpenMP, whose threads the loops run on"
        return next((why for why in _recorded(phi, request.need) if isinstance(why, str)), None)

    def sums(self, phi: Feature, X: Tensor, Y: Tensor, a: Tensor | None, need: Need) -> Field:
        if self.declines(phi, request("sums", phi, X, Y, need)):
            return Chunked().sums(phi, X, Y, a, need)
        formulas = Formulas(phi.form, *(None if part is None else compiled(part) for part in _recorded(phi, need)))
        over = over_inputs if X.shape[0] < min(Y.shape[0], MANY) else over_outputs
        return over(formulas, X, Y, Y.new_ones(Y.shape[0]) if a is None else a)

    def directed_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor, need: Need) -> Field:
        return Chunked().directed_sums(phi, X, Y, V, need)

    def vector_sums(self, phi: Feature, X: Tensor, Y: Tensor, V: Tensor) -> Tensor:
        return Chunked().vector_sums(phi, X, Y, V)


def unfit(request: Request) -> str | None:
    """Why there are no compiled loops for such sums, whatever the profile; None where there are."""
    if request.op != "sums":
        return f"{request.op} sums have no compiled loop; values and gradients have"
    if request.device.type != "cpu":
        return f"the points are on {request.device}, and loops are compiled for the CPU"
    if request.dtype not in DTYPES:
        return f"the points are in {request.dtype}, and loops are compiled in {', '.join(map(str, DTYPES))}"
    return None


def _recorded(phi: Feature, need: Need) -> list[Any]:
    """Profile and derivative where they are needed, None where not, and the reason in place of one that cannot be compiled."""
    return [recorded(phi, order) if part in need else None for order, part in enumerate((Need.VALUE, Need.GRAD))]
