"""TorchEBM: persistent contrastive divergence with k = 1 on the same energy, walkers and data. Not the same algorithm.

It is the closest thing that another library has, and does nearly the same work: N chains go on by one Langevin step, the energy's
mean over them and over the data is differentiated in theta and w. But its chains are not put back on the sphere, their noise is not
antithetic (N d normals instead of N d / 2), neurons move by plain gradient ascent in theta and w, and no ball holds w.
Its loss takes as many chains as data points, so its parts are called here one by one, in its own order, with N and n of them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torchebm.core import BaseModel
from torchebm.losses import PersistentContrastiveDivergence
from torchebm.samplers import LangevinDynamics

from peers.problem import Problem


class Neurons(BaseModel):
    """f(x) = 1/m sum_j s_j w_j relu(<x, theta_j>)."""

    def __init__(self, problem: Problem):
        super().__init__(dtype=problem.X.dtype, device=problem.X.device)
        self.theta, self.w = nn.Parameter(problem.theta.clone()), nn.Parameter(problem.w.clone())
        self.s = problem.s

    def forward(self, x: Tensor) -> Tensor:
        """x (B, d), f (B,)."""
        return torch.relu(x @ self.theta.T) @ (self.s * self.w / len(self.w))


def steps(problem: Problem) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(X, theta, w) after each step."""
    model, loss, optimiser = _made(problem)
    while True:
        chains = loss.sampler.sample(x=loss.replay_buffer, n_steps=loss.k_steps)
        loss.update_buffer(chains)
        optimiser.zero_grad()
        loss.compute_loss(problem.data, chains).backward()
        optimiser.step()
        yield chains, model.theta.detach(), model.w.detach()


def _made(problem: Problem) -> tuple[Neurons, PersistentContrastiveDivergence, torch.optim.Optimizer]:
    N, m, dtype, device = len(problem.X), len(problem.w), problem.X.dtype, problem.X.device
    model = Neurons(problem)
    loss = PersistentContrastiveDivergence(
        model,
        LangevinDynamics(model, step_size=problem.h, noise_scale=1.0, dtype=dtype, device=device),
        k_steps=1,
        buffer_size=N,
        init_steps=0,
        new_sample_ratio=0.0,
        energy_reg_weight=0.0,
        dtype=dtype,
        device=device,
    )
    loss.initialize_buffer(tuple(problem.X.shape[1:]))
    loss.replay_buffer.copy_(problem.X)
    return model, loss, torch.optim.SGD(model.parameters(), lr=problem.h * problem.a * m)  # a neuron's gradient has 1/m in it
