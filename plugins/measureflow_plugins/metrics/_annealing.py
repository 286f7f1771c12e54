"""Annealed importance sampling: independent weighted samples of a Gibbs law, and its log Z."""

import math
from collections.abc import Callable
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.core.measure import Field, Need
from measureflow.core.noise import Noise
from measureflow.dynamics.coupling import Potential
from measureflow_plugins.domains.euclidean import Euclidean

AIM = 0.7  # acceptance that the pilot steers to; between the .57 of Langevin in high dimension and small safe steps
GAIN = 1.0  # of log h on the acceptance's distance from AIM, at each temperature


@final
@attrs.frozen(eq=False)
class Walkers:
    """Points x (n, d) with the tilt's value and gradient there."""

    x: Float[Tensor, "n d"]
    tilt: Field


@final
@attrs.frozen(eq=False)
class Bridge:
    """The laws exp(-t g) dbase for t from 0 to 1, from one that can be drawn to exp(-beta f) dtau.

    Where tau is a probability, base = tau and g = beta f. On R^d with Lebesgue measure the base is a standard Gaussian and
    g = beta f + log dbase/dx, without the constant, which `log_z0` holds.
    """

    base: Domain
    tilt: Callable[[Tensor], Field]
    log_z0: float

    @classmethod
    def to(cls, energy: Potential, home: Domain, d: int, beta: float) -> "Bridge":
        def plain(x: Tensor) -> Field:
            return energy(x, Need.BOTH).scale(beta)

        if not (isinstance(home, Euclidean) and home.flat):
            return cls(home, plain, 0.0)
        base = Euclidean(base="gaussian")
        return cls(base, lambda x: plain(x).plus(Field(base.log_density(x), base.score(x))), 0.5 * d * math.log(2 * math.pi))

    def at(self, x: Tensor) -> Walkers:
        return Walkers(x, self.tilt(x))

    def _height(self, walkers: Walkers, t: float) -> Tensor:
        return t * walkers.tilt.value - self.base.log_density(walkers.x)

    def _drift(self, walkers: Walkers, t: float, h: Tensor) -> Tensor:
        return self.base.tangent(walkers.x, self.base.score(walkers.x) - t * walkers.tilt.grad) * h

    def move(self, old: Walkers, t: float, h: Tensor, noise: Noise) -> tuple[Walkers, Tensor]:
        """One Metropolis-adjusted geodesic Langevin step at inverse temperature t, and the mean acceptance probability.

        Proposal y = exp_x(v), v tangent Gaussian with mean m(x) and variance 2h, of density exp(-|v - m|^2 / 4h) over the
        Jacobian of exp; refused beyond the injectivity radius.
        """
        rows, base = range(old.x.shape[0]), self.base
        normal = noise.normal_rows(rows, old.x.shape[1], old.x, "normal")
        mean = self._drift(old, t, h)
        v = mean + base.tangent(old.x, normal) * (2 * h).sqrt()
        new = self.at(base.exp(old.x, v))
        back = base.log(new.x, old.x)
        there = _log_normal(v - mean, h) - base.log_volume(old.x, v)
        here = _log_normal(back - self._drift(new, t, h), h) - base.log_volume(new.x, back)
        ratio = self._height(old, t) - self._height(new, t) + here - there
        ratio = torch.where(torch.isfinite(ratio), ratio, torch.full_like(ratio, -torch.inf))
        accepted = noise.uniform_rows(rows, old.x, "accept").log() < ratio
        chosen = accepted[:, None]
        tilt = Field(torch.where(accepted, new.tilt.value, old.tilt.value), torch.where(chosen, new.tilt.grad, old.tilt.grad))
        return Walkers(torch.where(chosen, new.x, old.x), tilt), ratio.clamp(max=0).exp().mean()


def _log_normal(v: Tensor, h: Tensor) -> Tensor:
    return v.square().sum(1) * (-0.25 / h)


def anneal(
    bridge: Bridge, d: int, chains: int, temperatures: int, noise: Noise, like: Tensor
) -> tuple[Float[Tensor, "n d"], Float[Tensor, " n"]]:
    """Points (chains, d) and log-weights (chains,) with log Z = log mean exp(log w), along `temperatures` equal steps of t.

    log w = -sum_k (t_{k+1} - t_k) g(x_k), x_k after a Metropolis move at t_k. The step sizes come from a pilot of a quarter
    of the chains, so that the weights of the others stay unbiased.
    """
    steps = _pilot(bridge, d, max(chains // 4, 32), temperatures, noise.at("pilot"), like)
    walkers, noise = _start(bridge, d, chains, noise, like), noise.at("move")
    log_w = torch.full_like(walkers.tilt.value, bridge.log_z0)
    for k, h in enumerate(steps):
        log_w = log_w - walkers.tilt.value / temperatures
        walkers, _ = bridge.move(walkers, (k + 1) / temperatures, h, noise.at(k))
    return walkers.x, log_w


def _start(bridge: Bridge, d: int, chains: int, noise: Noise, like: Tensor) -> Walkers:
    return bridge.at(bridge.base.sample(noise.normal_rows(range(chains), d, like, "start")))


def _pilot(bridge: Bridge, d: int, chains: int, temperatures: int, noise: Noise, like: Tensor) -> list[Tensor]:
    """A step size for every temperature, steered by the acceptance at the one before."""
    walkers, steps = _start(bridge, d, chains, noise, like), []
    h = like.new_tensor(1 / bridge.base.dimension(d))
    for k in range(temperatures):
        steps.append(h)
        walkers, accepted = bridge.move(walkers, (k + 1) / temperatures, h, noise.at(k))
        h = h * (GAIN * (accepted - AIM)).exp()
    return steps
