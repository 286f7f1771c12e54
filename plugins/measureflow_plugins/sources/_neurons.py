"""The planted neurons of the paper's experiments, by name, and other ways to say which neurons to plant."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from measureflow.core.schedule import MANY
from measureflow.errors import unknown

_FIRST = (
    -0.1581,
    -0.1232,
    -0.1913,
    0.4161,
    0.4344,
    0.1045,
    0.3137,
    0.2839,
    0.1072,
    0.1849,
    -0.2719,
    -0.1624,
    -0.0897,
    -0.2070,
    0.4179,
)
# The pairs of Domingo-Enrich et al.'s experiments, to four digits: angles 1.3693, 2.8650, 2.552 and 1.574 rad.
PLANTED: Mapping[str, Sequence[Sequence[float]]] = {
    "monomodal": (
        _FIRST,
        (
            0.5860,
            0.1702,
            -0.1274,
            0.0954,
            0.1495,
            0.1055,
            0.2156,
            0.1797,
            -0.1128,
            0.0606,
            -0.1669,
            0.0621,
            -0.4499,
            0.4556,
            0.1786,
        ),
    ),
    "bimodal": (
        _FIRST,
        (
            0.1901,
            0.0444,
            0.1050,
            -0.4427,
            -0.4244,
            -0.0265,
            -0.2217,
            -0.2021,
            0.0412,
            -0.2631,
            0.3599,
            0.1848,
            0.0721,
            0.2579,
            -0.4216,
        ),
    ),
    "sphere-146": ((-0.4907, 0.7621, 0.4224), (0.4253, -0.3558, -0.8321)),
    "sphere-90": ((-0.1685, 0.9065, -0.3871), (-0.3475, 0.3090, 0.8853)),
}

Neurons = tuple[tuple[float, ...], ...]


def as_neurons(given: object) -> Neurons:
    """Unit neurons (J, d) from a name, a list of vectors, or {angle, dim}: two neurons at that angle in R^dim."""
    if isinstance(given, str):
        if given not in PLANTED:
            raise ValueError(unknown("planted neurons", given, PLANTED))
        return _unit(PLANTED[given])
    if isinstance(given, Mapping):
        return _pair(given)
    return _unit(given)


def _pair(given: Mapping[str, object]) -> Neurons:
    angle, dim = given.get("angle"), given.get("dim")
    if set(given) != {"angle", "dim"} or not isinstance(angle, int | float) or not isinstance(dim, int):
        raise ValueError(f"expected {{angle = (radians), dim = (an integer)}}, got {dict(given)!r}")
    if not 2 <= dim <= MANY or not 0 < angle < math.pi:
        raise ValueError(f"needs dim from 2 to {MANY:,} and an angle in (0, pi), got dim = {dim}, angle = {angle}")
    return _unit([[1.0] + [0.0] * (dim - 1), [math.cos(angle), math.sin(angle)] + [0.0] * (dim - 2)])


def _unit(given: object) -> Neurons:
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"expected a name, a list of vectors of one length, or {{angle, dim}}; got {given!r}") from None
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise ValueError(f"expected a list of vectors of one length d >= 2, got an array of shape {array.shape}")
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(array, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ValueError("neurons must be finite and not zero")
    return tuple(tuple(float(x) for x in row) for row in array / norms)
