"""The exact law of a flow under a linear force: no samples, hence no sampling error."""

from typing import final

import attrs
import torch
from torch import Tensor

from measureflow.core.domain import Domain
from measureflow.core.measure import Particles, System
from measureflow.core.noise import Keyed, Noise
from measureflow.dynamics.flow import Flow, marked
from measureflow.testing.families.flows import after
from measureflow.testing.problems.systems import Quadratic
from measureflow.testing.promise import InapplicableError

FORCE, SLOPE = 1.3, 0.4  # V(x) = FORCE x^2 / 2 - SLOPE x
START, SPREAD = 0.7, 0.2  # mean of x at time 0, and its variance
DOUBLINGS = 24  # of the number of steps, after which any start is forgotten


@final
@attrs.frozen(eq=False)
class _Given(Noise):
    """Normals that are given: the k-th draw is column k of `values`; notes how many were drawn."""

    values: Tensor
    drawn: list[str]

    def at(self, *key: str | int) -> Noise:
        return self

    def normal_rows(self, rows: range, width: int, like: Tensor, draw: str) -> Tensor:
        self.drawn.append(draw)
        k = len(self.drawn) - 1
        return (
            self.values[rows.start : rows.stop, k : k + 1].clone() if k < self.values.shape[1] else like.new_zeros(len(rows), width)
        )

    def uniform_rows(self, rows: range, like: Tensor, draw: str) -> Tensor:
        raise InapplicableError("it draws uniforms: its step is not linear under a linear force")

    def index_rows(self, rows: range, high: int, like: Tensor, draw: str) -> Tensor:
        raise InapplicableError("it draws rows: its step is not linear under a linear force")


def law(flow: Flow, line: Domain, h: float, steps: int) -> tuple[float, float]:
    """Mean and variance of x after so many steps on the flat `line` from the Gaussian (START, SPREAD), marks at 0.

    Under a linear force a step is state <- A state + B noise + c for the state (x, marks): A, B, c are read off by stepping
    unit vectors. Raises InapplicableError where the step is not linear, or the marks are not one number an atom.
    """
    A, B, c = _affine(flow, line, h)
    mean = torch.zeros(len(A), dtype=torch.float64)
    mean[-1] = START
    covariance = torch.zeros_like(A)
    covariance[-1, -1] = SPREAD
    for _ in range(steps):
        mean, covariance = A @ mean + c, A @ covariance @ A.T + B @ B.T
    return float(mean[-1]), float(covariance[-1, -1])


def limit(flow: Flow, line: Domain, h: float) -> tuple[float, float]:
    """Mean and variance of x after 2^DOUBLINGS steps: the stationary law of the flow with steps of size h.

    Raises InapplicableError as `law` does, and where the flow draws nothing.
    """
    A, B, c = _affine(flow, line, h)
    if not B.shape[1]:
        raise InapplicableError("it draws no noise")
    covariance = B @ B.T
    for _ in range(DOUBLINGS):  # so many steps and as many again
        A, covariance, c = A @ A, A @ covariance @ A.T + covariance, A @ c + c
    return float(c[-1]), float(covariance[-1, -1])


def gibbs(line: Domain, T: float) -> tuple[float, float]:
    """Mean and variance of exp(-V/T) dtau, tau the line's Gaussian or flat base, whose score is linear."""
    at_0, at_1 = line.score(torch.tensor([[0.0], [1.0]], dtype=torch.float64)).flatten().tolist()
    variance = 1 / (FORCE / T + at_0 - at_1)
    return variance * (SLOPE / T + at_0), variance


def _affine(flow: Flow, line: Domain, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and c of one step; the state's last number is x."""
    names = _names(flow, line)
    drawn: list[str] = []
    nothing = torch.zeros(1, len(names), dtype=torch.float64)
    _step(flow, line, h, names, nothing, nothing[:, :0], drawn)
    s, k = len(names), len(drawn)
    unit = torch.cat([torch.zeros(1, s + k), torch.eye(s + k), torch.ones(1, s + k)]).double()
    moved = _step(flow, line, h, names, unit[:, :s], unit[:, s:], [])
    c, ends, both = moved[0], moved[1:-1] - moved[0], moved[-1] - moved[0]
    if float((ends.sum(0) - both).abs().max()) > 1e-9:
        raise InapplicableError("its step is not linear under a linear force")
    return ends[:s].T, ends[s:].T, c


def _names(flow: Flow, line: Domain) -> list[str]:
    """The parts of a state: the marks, then the points."""
    marks = _marked(flow, line, torch.zeros(1, 1, dtype=torch.float64)).marks
    if any(mark.numel() != 1 for mark in marks.values()):
        raise InapplicableError("its marks are more than one number an atom")
    return [*marks, "points"]


def _marked(flow: Flow, line: Domain, points: Tensor) -> Particles:
    return marked(Particles.uniform(points, line), (flow,), Keyed(0))


def _step(flow: Flow, line: Domain, h: float, names: list[str], states: Tensor, normals: Tensor, drawn: list[str]) -> Tensor:
    """The states (n, s) after a step; the flow is given each twice, since antithetic noise takes an even number."""
    n, twice = len(states), torch.cat([states, states])
    mu = _marked(flow, line, twice[:, -1:].clone())
    marks = {name: twice[:, i].reshape(mu.marks[name].shape).clone() for i, name in enumerate(names[:-1])}
    force = Quadratic(torch.full((1, 1), FORCE, dtype=torch.float64), torch.full((1,), -SLOPE, dtype=torch.float64))
    noise = _Given(torch.cat([normals, normals]), drawn)
    moved = after(flow, System({"mu": mu.replace(marks=marks)}), h, force, noise)
    return torch.cat([*(moved.marks[name].reshape(2 * n, 1) for name in names[:-1]), moved.points], 1)[:n]
