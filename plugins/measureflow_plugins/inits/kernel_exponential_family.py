"""The kernel exponential family, fitted in closed form."""

from collections.abc import Mapping
from typing import ClassVar, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Feature
from measureflow.core.measure import Need, Particles
from measureflow.core.schedule import within
from measureflow.errors import MeasureflowError
from measureflow.observe.source import Init, Setting, World
from measureflow.reduction.chunked import Chunked
from measureflow_plugins.features.gaussian import Gaussian
from measureflow_plugins.features.laplacian import laplacian
from measureflow_plugins.flows.additive import massed


@final
@attrs.frozen
class KernelExponentialFamily(Init):
    """f = sum_j c_j phi(., y_j), fitted to the data by score matching: (G + penalty I) c = b (Arbel and Gretton 2018).

    The y_j are `size` data points drawn without replacement (Nystrom points, Sutherland et al. 2018); G_jk = mean <grad phi_j,
    grad phi_k> and b_j = beta^-1 mean (Lap phi_j + <grad log tau, grad phi_j>) over the data, gradients tangent. c becomes the
    signed masses of the atoms y_j, and f is an energy: the model is exp(-beta f) dtau. With coupling score-matching of the
    same `feature`, and no flows, metrics read the fitted energy at step 0; flows go on from there. Solved in float64.
    """

    kind: ClassVar[str] = "kernel-exponential-family"
    size: int = attrs.field(validator=within(1))
    feature: Feature = attrs.field(factory=Gaussian)
    penalty: float = attrs.field(default=1e-3, validator=within(0.0, open_low=True))
    beta: float = attrs.field(default=1.0, validator=within(0.0, open_low=True))

    def atoms(self, sizes: Mapping[str, int]) -> int:
        if self.size > sizes.get("data", 0):
            raise MeasureflowError(f"size: {self.size} points cannot be drawn from {sizes.get('data', 0)} data points; lower it")
        return self.size

    def measure(self, space: Space, world: World, setting: Setting) -> Particles:
        if self.feature.parameter_space(world.space) != space or space != world.space:
            raise MeasureflowError(
                f"feature: {self.feature.kind} does not put its atoms among the data; a kernel such as gaussian does"
            )
        data = world.data
        x = Particles.uniform(data.points.double(), data.domain)
        order = setting.noise.uniform_rows(range(x.size), data.points, "nystrom").argsort()[: self.size]
        try:
            G, b = equations(self.feature, x, x.points[order])
        except ValueError as error:
            raise MeasureflowError(f"feature: {error}") from None
        c = torch.linalg.solve(G + self.penalty * torch.eye(self.size, dtype=G.dtype, device=G.device), b / self.beta)
        return massed(Particles.uniform(data.points[order], space.domain), setting.tensor(c))


def equations(phi: Feature, x: Particles, y: Tensor) -> tuple[Tensor, Tensor]:
    """G (m, m), G_jk = mean over x of <grad phi_j, grad phi_k>, and b (m,), the mean of Lap phi_j + <grad log tau, grad phi_j>."""
    reducer, domain = Chunked(), x.domain
    columns = []
    for k in range(y.shape[0]):
        one = Particles.uniform(y[k : k + 1], domain)
        slope = domain.tangent(x.points, reducer.field(phi, x.points, one, Need.GRAD).grad)
        columns.append(reducer.directional(phi.T, y, x, slope, Need.VALUE).value)
    b = reducer.field(laplacian(phi, Space(domain, x.dim)).T, y, x, Need.VALUE).value
    if not domain.flat:
        b = b + reducer.directional(phi.T, y, x, domain.score(x.points), Need.VALUE).value
    return torch.stack(columns, 1), b
