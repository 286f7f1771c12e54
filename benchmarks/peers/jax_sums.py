"""The sums of `sums` in JAX, compiled by XLA."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from torch import Tensor

from peers.jax import moved


def on(kind: str) -> bool:
    """Whether JAX computes on that kind of device here, "cpu" or "cuda"."""
    return (jax.default_backend() == "gpu") == (kind == "cuda")


def relu(X: Tensor, Y: Tensor, a: Tensor) -> Callable[[], Array]:
    """The work of one sum, of copies of the tensors."""
    return _made(_relu, X, Y, a)


def gaussian(X: Tensor, Y: Tensor, a: Tensor, length: float) -> Callable[[], Array]:
    """The work of one sum, of copies of the tensors."""
    return _made(partial(_gaussian, length=length), X, Y, a)


def _made(formula: Callable[..., Array], *tensors: Tensor) -> Callable[[], Array]:
    arrays, work = [moved(tensor) for tensor in tensors], jax.jit(formula)
    return lambda: jax.block_until_ready(work(*arrays))


def _relu(X: Array, Y: Array, a: Array) -> Array:
    with jax.default_matmul_precision("float32"):
        return (X @ Y.T > 0).astype(X.dtype) @ (Y * a[:, None])


def _gaussian(X: Array, Y: Array, a: Array, length: float) -> Array:
    with jax.default_matmul_precision("float32"):
        R2 = jnp.maximum((X**2).sum(1, keepdims=True) + (Y**2).sum(1) - 2 * X @ Y.T, 0)
        K = jnp.exp(R2 * (-0.5 / length**2))
        return (K @ (Y * a[:, None]) - X * (K @ a)[:, None]) / length**2
