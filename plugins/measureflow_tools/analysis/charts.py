"""Charts: how points of any domain and dimension are put on a page."""

import math
from typing import Literal, final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from measureflow.api import Particles, Space, System

Kind = Literal["globe", "circle", "plane", "torus", "projection"]
DATA, TEACHER = "data", "teacher"


@final
@attrs.frozen(eq=False)
class Chart:
    """A map of a space to the page: `axes` (d, k) orthonormal columns, `names` (k) of the axes.

    kind "globe": S^2, k = 3; "circle": S^1, k = 2; "plane": R^2, k = 2; "torus": two angles, k = 2; "projection": anything
    else, k = 2, onto the teacher's plane or the first principal axes of the data.
    """

    kind: Kind
    space: Space
    axes: Float[Tensor, "d k"]
    names: tuple[str, ...]

    def __call__(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Coordinates on the page."""
        return points.double() @ self.axes

    @property
    def whole(self) -> bool:
        """True where the page shows the space itself, so that a density on it can be drawn."""
        return self.kind != "projection"

    def shows(self, mu: Particles) -> bool:
        """Whether a measure lives in the space of this chart."""
        return Space(mu.domain, mu.dim) == self.space


def chart_of(system: System, name: str) -> Chart:
    """The chart of the space in which the measure `name` lives, its axes taken from the teacher and the data that live there."""
    mu = system[name]
    space = Space(mu.domain, mu.dim)
    kind = _kind(space)
    if kind != "projection":
        return Chart(kind, space, torch.eye(mu.dim, dtype=torch.float64), _letters(kind))
    there = [
        other for other in (TEACHER, DATA, name) if other in system and Space(system[other].domain, system[other].dim) == space
    ]
    return Chart(kind, space, *_plane({other: system[other] for other in there}))


def _kind(space: Space) -> Kind:
    kinds: dict[tuple[str, int], Kind] = {
        ("sphere", 3): "globe", ("sphere", 2): "circle", ("euclidean", 2): "plane", ("torus", 2): "torus",
    }  # fmt: skip
    return kinds.get((space.domain.kind, space.dim), "projection")


def _letters(kind: Kind) -> tuple[str, ...]:
    return ("first angle", "second angle") if kind == "torus" else ("x", "y", "z")[: 3 if kind == "globe" else 2]


def _plane(measures: dict[str, Particles]) -> tuple[Float[Tensor, "d 2"], tuple[str, str]]:
    """The teacher's plane, filled up with principal axes of the first other measure, and the names of its two axes."""
    columns: list[Tensor] = []
    names: list[str] = []
    if TEACHER in measures:
        for j, neuron in enumerate(measures[TEACHER].points.double()):
            _join(columns, neuron, names, f"teacher's neuron {j + 1}")
    cloud = next((mu for other, mu in measures.items() if other != TEACHER), measures.get(TEACHER))
    assert cloud is not None
    points = cloud.points.double()
    _, sizes, rows = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    for j, row in enumerate(rows[sizes > 1e-12 * points.norm()]):
        _join(columns, row, names, f"principal axis {j + 1}")
    for k in range(min(3, points.shape[1])):  # where the points span less than a plane
        _join(columns, torch.nn.functional.one_hot(torch.tensor(k), points.shape[1]).double(), names, f"coordinate {k + 1}")
    if len(columns) == 1:  # d = 1: the second axis is empty
        return torch.stack([columns[0], torch.zeros_like(columns[0])], 1), (names[0], "")
    return torch.stack(columns, 1), (names[0], names[1])


def _join(columns: list[Tensor], vector: Tensor, names: list[str], name: str) -> None:
    """Adds what is new in `vector`, as a unit vector, while fewer than two directions are known."""
    if len(columns) == 2:
        return
    length = vector.norm()
    for column in columns:
        vector = vector - (vector @ column) * column
    if vector.norm() > 1e-6 * max(float(length), math.ulp(1.0)):
        columns.append(vector / vector.norm())
        names.append(name if not columns[:-1] else f"{name}, orthogonal part" if name.startswith("teacher") else name)
