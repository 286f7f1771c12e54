"""A whole network as a feature, so that a measure over its parameters is an ensemble of networks."""

import itertools
import math
from collections.abc import Iterator
from typing import ClassVar, Literal, final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Space
from measureflow.core.feature import Autograd
from measureflow_plugins.domains.euclidean import Euclidean

ACTIVATIONS = {"tanh": torch.tanh, "softplus": torch.nn.functional.softplus, "relu": torch.relu}


def _positive(_instance: object, attribute: object, value: tuple[int, ...]) -> None:
    if not value or min(value) < 1:
        raise ValueError(f"widths must name at least one hidden layer, each of width >= 1, got {list(value)}")


@final
@attrs.frozen
class Mlp(Autograd):
    """phi(x, theta) = W_L a(.. a(W_1 x / sqrt(d) + b_1) ..) / sqrt(h_L): one number, hidden layers of the given `widths`.

    theta holds W_1 (h_1, d) row by row, b_1 (h_1,), W_2 (h_2, h_1), b_2, .., W_L (1, h_L), without a last bias, which
    would move no energy's law. It lives on R^p with base N(0, I): each layer divides by the root of its fan-in, so that
    activations start with size one whatever the widths, and Langevin noise on gamma comes with the weight decay that
    belongs to it. `activation`: tanh, softplus or relu.
    """

    kind: ClassVar[str] = "mlp"
    widths: tuple[int, ...] = attrs.field(default=(16,), validator=_positive)
    activation: Literal["tanh", "softplus", "relu"] = "tanh"

    def pair(self, x: Tensor, theta: Tensor) -> Tensor:
        act = ACTIVATIONS[self.activation]
        layers = list(self._layers(x.shape[1], theta))
        W, b = layers[0]
        h = torch.einsum("nd,mhd->nmh", x, W) / math.sqrt(x.shape[1]) + b
        for W, b in layers[1:]:
            h = torch.einsum("nmk,mhk->nmh", act(h), W) / math.sqrt(W.shape[2]) + b
        last = theta[:, theta.shape[1] - self.widths[-1] :]
        value: Tensor = (act(h) * last).sum(2) / math.sqrt(self.widths[-1])
        return value

    def _layers(self, d: int, theta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Matrices (m, h, fan-in) and biases (m, h) of the hidden layers."""
        start = 0
        for fan_in, width in itertools.pairwise((d, *self.widths)):
            middle, stop = start + width * fan_in, start + width * (fan_in + 1)
            yield theta[:, start:middle].view(-1, width, fan_in), theta[:, middle:stop]
            start = stop

    def parameter_space(self, x: Space) -> Space:
        hidden = sum(width * (fan_in + 1) for fan_in, width in itertools.pairwise((x.dim, *self.widths)))
        return Space(Euclidean(base="gaussian"), hidden + self.widths[-1])
