"""Any torch function as a potential, differentiated by torch."""

from collections.abc import Callable
from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.measure import Field, Need
from measureflow.dynamics.coupling import Potential
from measureflow.errors import MeasureflowError

Function = Callable[[Tensor], Tensor]
ROWS = 2**14  # points of a block: torch keeps what it needs for the gradient of one block only


@final
@attrs.frozen(eq=False)
class Differentiated(Potential):
    """`function(x)` for x (n, d), with values (n,) or (n, 1), each of its own row; a torch.nn.Module is such a function."""

    function: Function

    def __call__(self, at: Tensor, need: Need) -> Field:
        blocks = [self._block(x, need) for x in torch.split(at.detach(), ROWS)]
        value = torch.cat([block.value for block in blocks]) if Need.VALUE in need else None
        return Field(value, torch.cat([block.grad for block in blocks]) if Need.GRAD in need else None)

    def _block(self, x: Tensor, need: Need) -> Field:
        if Need.GRAD not in need:
            with torch.no_grad():
                return Field(self._value(x))
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            value = self._value(leaf)
            grad = torch.autograd.grad(value.sum(), leaf, allow_unused=True)[0] if value.requires_grad else None
        if grad is None:
            raise MeasureflowError(
                "energy: torch finds no gradient in x; compute the values from x by torch functions alone, without numpy or detach "
                "(a constant is 0 * x.sum(1))"
            )
        return Field(value.detach(), grad)

    def _value(self, x: Tensor) -> Tensor:
        value: object = self.function(x)
        if not isinstance(value, Tensor) or value.shape not in ((len(x),), (len(x), 1)):
            gave = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r:.60}"
            raise MeasureflowError(f"energy: for points of shape {tuple(x.shape)} it gave {gave}; it must give ({len(x)},)")
        return value.reshape(-1)
