"""What a profile may do to a number, as LLVM instructions in the number's own precision, all of which vectorise but the last."""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any, final

import attrs

from measureflow_plugins.reducers.compiler import FORMULAS

Value = Any  # a float or a double in a function that LLVM is about to compile


@final
@attrs.frozen
class Writer:
    """Appends instructions to a function of one `kind` of number, float32 or float64, given as numba's type."""

    context: Any
    builder: Any
    kind: Any

    @property
    def double(self) -> bool:
        return bool(self.kind.bitwidth == 64)

    def constant(self, number: float) -> Value:
        return self.context.get_constant(self.kind, number)

    def arithmetic(self, name: str, x: Value, y: Value) -> Value:
        """`name` is fadd, fsub, fmul or fdiv."""
        return getattr(self.builder, name)(x, y, flags=FORMULAS)

    def choose(self, x: Value, comparison: str, y: Value, then: Value, otherwise: Value) -> Value:
        """`then` where the comparison holds, which it never does for NaN."""
        return self.builder.select(self.builder.fcmp_ordered(comparison, x, y), then, otherwise)

    def intrinsic(self, name: str, x: Value) -> Value:
        return self.builder.call(self.builder.module.declare_intrinsic(f"llvm.{name}", [x.type]), [x])

    def library(self, function: Callable[..., float], *values: Value) -> Value:
        """A function of the C library, one number at a time."""
        signature = self.kind(*[self.kind] * len(values))
        return self.context.get_function(function, signature)(self.builder, values)

    def bits(self, x: Value, change: Callable[[Value], Value]) -> Value:
        """x with its bits changed as an integer of the same width."""
        integer = importlib.import_module("llvmlite.ir").IntType(self.kind.bitwidth)
        return self.builder.bitcast(change(self.builder.bitcast(x, integer)), x.type)


def _relu(w: Writer, x: Value) -> Value:
    zero = w.constant(0)
    return w.choose(x, "<", zero, zero, x)  # NaN stays NaN, as in torch


def _sign(w: Writer, x: Value) -> Value:
    zero = w.constant(0)
    return w.choose(x, ">", zero, w.constant(1), w.choose(x, "<", zero, w.constant(-1), zero))


def _clamp(w: Writer, x: Value, low: Value, high: Value) -> Value:
    return w.choose(x, "<", low, low, w.choose(x, ">", high, high, x))


def _exp(w: Writer, x: Value) -> Value:
    """exp(x) = 2^n exp(r), n whole and |r| <= log(2) / 2, within a rounding unit; 0 where it is less than normal numbers.

    Adding `magic` rounds x / log 2 to n and leaves n + bias in the lowest bits, from where a shift makes it the exponent of
    2^n. Taylor's polynomial of exp(r) is cut off below rounding. `coarse` + `fine` is log 2, and n * coarse is exact.
    """
    mantissa, bias, degree = (52, 1023, 13) if w.double else (23, 127, 7)
    coarse, fine, magic = w.constant(0.693359375), w.constant(-2.121944400546905827679e-4), w.constant(1.5 * 2**mantissa + bias)
    low, high = w.constant((1 - bias) * math.log(2)), w.constant((bias + 0.49) * math.log(2))
    inside = _clamp(w, x, low, high)
    shifted = w.arithmetic("fadd", w.arithmetic("fmul", inside, w.constant(1 / math.log(2))), magic)
    n = w.arithmetic("fsub", shifted, magic)
    r = w.arithmetic("fsub", w.arithmetic("fsub", inside, w.arithmetic("fmul", n, coarse)), w.arithmetic("fmul", n, fine))
    series = w.constant(1 / math.factorial(degree))
    for k in range(degree - 1, -1, -1):
        series = w.arithmetic("fadd", w.arithmetic("fmul", series, r), w.constant(1 / math.factorial(k)))
    power = w.bits(shifted, lambda i: w.builder.shl(i, i.type(mantissa)))
    value = w.arithmetic("fmul", series, power)
    return w.choose(x, ">", high, w.constant(math.inf), w.choose(x, "<", low, w.constant(0), value))


UNARY: Mapping[str, Callable[[Writer, Value], Value]] = {
    "relu": _relu,
    "sign": _sign,
    "exp": _exp,
    "abs": lambda w, x: w.intrinsic("fabs", x),
    "sqrt": lambda w, x: w.intrinsic("sqrt", x),
    "rsqrt": lambda w, x: w.arithmetic("fdiv", w.constant(1), w.intrinsic("sqrt", x)),
    "square": lambda w, x: w.arithmetic("fmul", x, x),
    **{
        function.__name__: lambda w, x, function=function: w.library(function, x)
        for function in (math.log, math.sin, math.cos, math.asin, math.acos, math.atan)
    },
}
INSTRUCTIONS: Mapping[str, Callable[..., Value]] = {
    **UNARY,
    "clamp": _clamp,
    "add": lambda w, x, y: w.arithmetic("fadd", x, y),
    "sub": lambda w, x, y: w.arithmetic("fsub", x, y),
    "mul": lambda w, x, y: w.arithmetic("fmul", x, y),
    "div": lambda w, x, y: w.arithmetic("fdiv", x, y),
    "pow": lambda w, x, y: w.library(math.pow, x, y),
    "atan2": lambda w, x, y: w.library(math.atan2, x, y),
}
