"""The largest absolute value of a potential over a domain, climbed to from many starts."""

from jaxtyping import Float
from torch import Tensor, where

from measureflow.core.domain import Domain
from measureflow.core.measure import Need
from measureflow.dynamics.coupling import Potential

STRIDE, LONGER, SHORTER = 0.2, 1.5, 0.4  # first stride along the domain; its factor after a step up, and after one refused


def highest(
    V: Potential, starts: Float[Tensor, "n p"], domain: Domain, climbers: int, steps: int
) -> tuple[Float[Tensor, "1 p"], Float[Tensor, " 1"]]:
    """The point theta with the largest |V| met, and V there: the best `climbers` starts climb |grad V| by `steps` strides.

    Each keeps its own stride, and a step that does not raise |V| is taken back, so kinks are no obstacle. A lower bound.
    """
    order = V(starts, Need.VALUE).value.abs().argsort(descending=True)[:climbers]
    theta = starts[order]
    here, stride = V(theta, Need.BOTH), theta.new_full((theta.shape[0],), STRIDE)
    value, grad = here.value, here.grad
    for _ in range(steps):
        up = domain.tangent(theta, grad * value.sign()[:, None])
        up = up / up.norm(dim=1, keepdim=True).clamp(min=1e-30)
        new = domain.exp(theta, up * stride[:, None])
        there = V(new, Need.BOTH)
        better = there.value * value.sign() > value.abs()
        theta, grad = where(better[:, None], new, theta), where(better[:, None], there.grad, grad)
        value = where(better, there.value, value)
        stride = where(better, stride * LONGER, stride * SHORTER)
    best = value.abs().argmax().view(1)
    return theta[best], value[best]
