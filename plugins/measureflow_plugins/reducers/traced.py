"""A profile as one scalar function: it is run once on an object that records what is done to it, and what it did is compiled."""

import functools
import operator
from collections.abc import Callable
from numbers import Real
from typing import Any, final

import attrs

from measureflow.core.feature import Feature, Swapped
from measureflow_plugins.reducers.compiler import formula, numba
from measureflow_plugins.reducers.instructions import INSTRUCTIONS, UNARY, Value, Writer

Scalar = Callable[..., Any]


@final
@attrs.frozen(eq=False)
class Traced:
    """A number that depends on u, with the operations of tensors and of KeOps' LazyTensors, each of which gives another.

    `name` is an instruction and `of` its operands, "u" is the argument and "constant" has a number. Raises AttributeError, which
    lists what is known, for another operation, and TypeError for a comparison, a branch or an operand that is no number.
    """

    name: str
    of: tuple[Any, ...] = ()

    def __add__(self, other: Any) -> "Traced":
        return Traced("add", (self, _operand(other)))

    def __radd__(self, other: Any) -> "Traced":
        return Traced("add", (_operand(other), self))

    def __sub__(self, other: Any) -> "Traced":
        return Traced("sub", (self, _operand(other)))

    def __rsub__(self, other: Any) -> "Traced":
        return Traced("sub", (_operand(other), self))

    def __mul__(self, other: Any) -> "Traced":
        return Traced("mul", (self, _operand(other)))

    def __rmul__(self, other: Any) -> "Traced":
        return Traced("mul", (_operand(other), self))

    def __truediv__(self, other: Any) -> "Traced":
        return Traced("div", (self, _operand(other)))

    def __rtruediv__(self, other: Any) -> "Traced":
        return Traced("div", (_operand(other), self))

    def __neg__(self) -> "Traced":
        return self * -1.0

    def __abs__(self) -> "Traced":
        return Traced("abs", (self,))

    def __pow__(self, exponent: Any) -> "Traced":
        if isinstance(exponent, int) and 1 <= exponent <= 8:
            return functools.reduce(operator.mul, [self] * exponent)
        return Traced("pow", (self, _operand(exponent)))

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise TypeError("a comparison is not known; sign, relu and clamp are")

    def __bool__(self) -> bool:
        raise TypeError("a formula that branches cannot be recorded; sign, relu and clamp can")

    def atan2(self, other: Any) -> "Traced":
        return Traced("atan2", (self, _operand(other)))

    def clamp(self, low: float, high: float) -> "Traced":
        return Traced("clamp", (self, _operand(low), _operand(high)))

    def __getattr__(self, name: str) -> Callable[[], "Traced"]:
        if name not in UNARY:
            raise AttributeError(f"{name} is not known; known: {', '.join(sorted(UNARY))}, atan2, clamp, + - * / **")
        return lambda: Traced(name, (self,))


def _operand(other: Any) -> Traced:
    if isinstance(other, Traced):
        return other
    if not isinstance(other, Real):
        raise TypeError(f"a formula combines numbers, not {type(other).__name__}")
    return Traced("constant", (float(other),))


def recorded(phi: Feature, order: int) -> Traced | str:
    """What phi's profile (order 0) or the factor of its gradient (order 1) does, or a sentence that says why it is unknown."""
    inner = phi.inner if isinstance(phi, Swapped) else phi  # the same formula
    try:
        return _recorded(inner, order)
    except Exception as error:  # whatever a profile raises on what is no tensor
        return f"the profile of {inner.kind} cannot be compiled ({type(error).__name__}: {error})"


@functools.cache
def _recorded(phi: Feature, order: int) -> Traced:
    value = _operand(phi.profile(Traced("u"), order))
    return value * 2.0 if order and phi.form == "radial" else value  # d |x - y|^2 = 2 <x - y, dx>


@functools.cache
def compiled(value: Traced) -> Scalar:
    """The scalar function u -> value in the dtype of u; raises MeasureflowError where numba is missing."""

    @numba().extending.intrinsic
    def instructions(_: Any, u: Any) -> tuple[Any, Callable[..., Value]]:
        def write(context: Any, builder: Any, signature: Any, arguments: tuple[Value]) -> Value:
            return _written(value, Writer(context, builder, u), arguments[0], {})

        return u(u), write

    return formula(lambda u: instructions(u))


def _written(node: Traced, writer: Writer, u: Value, known: dict[Traced, Value]) -> Value:
    """The value of a node, whose instructions are written once however often it is used."""
    if node.name == "u":
        return u
    if node.name == "constant":
        return writer.constant(*node.of)
    if node not in known:
        operands = [_written(operand, writer, u, known) for operand in node.of]
        known[node] = INSTRUCTIONS[node.name](writer, *operands)
    return known[node]
