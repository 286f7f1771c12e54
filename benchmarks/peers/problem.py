"""What a step of Algorithm 1 starts from, as plain tensors."""

from typing import final

import attrs
import torch
from torch import Tensor

RADIUS = 10.0


@final
@attrs.frozen(eq=False)
class Problem:
    """Walkers X (N, d), N even; neurons theta (m, d) with signs s (m,) and the paper's weights w (m,); data (n, d).

    `h` is the walkers' step, `a` the neurons' rate over theirs. `half` (N/2, d) are the normals of every step, of which the
    other half of the walkers get the negatives; None draws them afresh.
    """

    X: Tensor
    theta: Tensor
    s: Tensor
    w: Tensor
    data: Tensor
    h: float
    a: float
    half: Tensor | None = None

    def normals(self) -> Tensor:
        """(N/2, d) standard normals."""
        if self.half is not None:
            return self.half
        N, d = self.X.shape
        return torch.randn(N // 2, d, dtype=self.X.dtype, device=self.X.device)
