"""JAX: the dense step compiled as a whole by XLA, its state donated, its key split at every step.

JAX keeps threads of its own: on a CPU it uses every core, whatever torch.set_num_threads says.
"""

import functools
import os
from collections.abc import Iterator

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave a GPU's memory to torch

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from torch import Tensor

from peers.problem import RADIUS, Problem


def steps(problem: Problem) -> Iterator[tuple[Array, Array, Array]]:
    """(X, theta, w) after each step, done when it is yielded; a step's arrays are given up at the next."""
    data, s = moved(problem.data), moved(problem.s)
    half = None if problem.half is None else moved(problem.half)
    advance = functools.partial(jax.jit(_step, donate_argnums=(0, 1, 2, 3), static_argnames=("h", "a")), h=problem.h, a=problem.a)
    state = (jax.random.key(0), moved(problem.X), moved(problem.theta), moved(problem.w))
    while True:
        state = jax.block_until_ready(advance(*state, s, data, half))
        yield state[1:]


def moved(tensor: Tensor) -> Array:
    """A copy on JAX's default device: what is donated must not be torch's memory."""
    return jnp.array(np.asarray(tensor.cpu()), copy=True)


def _step(
    key: Array, X: Array, theta: Array, w: Array, s: Array, data: Array, half: Array | None, *, h: float, a: float
) -> tuple[Array, Array, Array, Array]:
    with jax.default_matmul_precision("float32"):  # as torch has it; JAX's own default on a GPU has fewer bits
        key, draw = jax.random.split(key)
        half = jax.random.normal(draw, (X.shape[0] // 2, X.shape[1]), X.dtype) if half is None else half
        noise = jnp.concatenate([half, -half]) * (2 * h) ** 0.5
        X = _unit(X - h * (_active(X, theta) @ (theta * (s * w / len(w))[:, None])) + noise)
        G = _active(X, theta).T @ X / len(X) - _active(data, theta).T @ data / len(data)
        F = (G * theta).sum(1)
        G = G - theta * F[:, None]
        w = w * jnp.exp(h * a * s * F)
        return key, X, _unit(theta + h * a * s[:, None] * G), w * (RADIUS / jnp.maximum(w.mean(), RADIUS))


def _active(X: Array, theta: Array) -> Array:
    return (X @ theta.T > 0).astype(X.dtype)


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=1, keepdims=True)
