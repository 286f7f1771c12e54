"""One step of Algorithm 1 with dual settings as others would write it, a module each, to hold the engine against.

A module has `steps(problem)`: each `next` of it is one step further. All but `torchebm` take the same step with the same number
of normals and share `loop`, so that they differ in how the sums over pairs are evaluated and in nothing else.
"""

import importlib
from collections.abc import Iterator
from typing import Any

from peers.problem import Problem

SAME = ("dense", "autograd", "jax", "keops")
NAMES = (*SAME, "torchebm")
INSTALL = "pip install 'measureflow[peers]'"


def steps(name: str, problem: Problem) -> Iterator[Any]:
    """The steps of the peer of that name; raises ModuleNotFoundError where its library is not installed."""
    found: Iterator[Any] = importlib.import_module(f"peers.{name}").steps(problem)
    return found


def absent(name: str) -> str | None:
    """Why a peer cannot be used here, None where it can."""
    try:
        importlib.import_module(f"peers.{name}")
    except ModuleNotFoundError as error:
        return f"peer {name} is not installed ({str(error.name).partition('.')[0]} is missing): {INSTALL}"
    return None
