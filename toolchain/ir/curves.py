"""Functions of one real number that networks have between their layers, each one formula for three kinds of numbers.

The formula works on float64 arrays, on fractions where the function is rational, and on decimals of any precision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, getcontext
from fractions import Fraction
from math import erf
from typing import Any, Protocol

import numpy as np

from toolchain.ir.types import Array

Number = Any
"""A float64 array, a Fraction or a Decimal."""


class Arithmetic(Protocol):
    """The operations besides + - * / that the formulas of the curves need of a kind of number."""

    def number(self, value: float) -> Number:
        """Return a float as a number of this kind."""

    def larger(self, a: Number, b: Number) -> Number:
        """Return the larger of two numbers."""

    def exp(self, x: Number) -> Number:
        """Return e to the x."""

    def log(self, x: Number) -> Number:
        """Return the natural logarithm."""

    def tanh(self, x: Number) -> Number:
        """Return the hyperbolic tangent."""

    def erf(self, x: Number) -> Number:
        """Return the error function."""


class Floats:
    """Arithmetic on float64 arrays, elementwise."""

    def number(self, value: float) -> Number:
        """Return ``value`` itself."""
        return value

    def larger(self, a: Number, b: Number) -> Number:
        """Return the larger elements."""
        return np.maximum(a, b)

    def exp(self, x: Number) -> Number:
        """Return e to the x, infinite where float64 overflows."""
        with np.errstate(over="ignore"):
            return np.exp(x)

    def log(self, x: Number) -> Number:
        """Return the natural logarithms."""
        return np.log(x)

    def tanh(self, x: Number) -> Number:
        """Return the hyperbolic tangents."""
        return np.tanh(x)

    def erf(self, x: Number) -> Number:
        """Return the error function of the elements, by the C library."""
        return _ERF(x)


_ERF = np.vectorize(erf, otypes=[np.float64])


class Fractions:
    """Exact arithmetic on rational numbers; they have no exp."""

    def number(self, value: float) -> Number:
        """Return the exact value of a float."""
        return Fraction(value)

    def larger(self, a: Number, b: Number) -> Number:
        """Return the larger of two numbers."""
        return max(a, b)

    def exp(self, x: Number) -> Number:
        """Raise TypeError: the result is no rational number."""
        raise TypeError("no rational number")

    log = tanh = erf = exp


class Decimals:
    """Arithmetic on decimals of the precision of the current context."""

    def number(self, value: float) -> Number:
        """Return ``value``, rounded to the precision."""
        return +Decimal(value)

    def larger(self, a: Number, b: Number) -> Number:
        """Return the larger of two numbers."""
        return max(Decimal(a), Decimal(b))

    def exp(self, x: Number) -> Number:
        """Return e to the x, correctly rounded."""
        return x.exp()

    def log(self, x: Number) -> Number:
        """Return the natural logarithm, correctly rounded."""
        return x.ln()

    def tanh(self, x: Number) -> Number:
        """Compute tanh from exp(-2 |x|), whose argument is never positive, so that it does not overflow."""
        small = (-2 * abs(x)).exp()
        return ((1 - small) / (1 + small)).copy_sign(x)

    def erf(self, x: Number) -> Number:
        """Return the Taylor series, with digits more for what cancels; 1 where no digit tells the result from it."""
        context = getcontext()
        digits = context.prec
        if x * x > Decimal("2.4") * (digits + 5):
            return Decimal(1).copy_sign(x)
        try:
            context.prec = 2 * digits + int(x * x)
            term, total, n = x, x, 0
            while abs(term) > Decimal(10) ** -(digits + 10):
                n += 1
                term *= -x * x / n
                total += term / (2 * n + 1)
            found = 2 * total / _pi().sqrt()
        finally:
            context.prec = digits
        return +found


def _pi() -> Decimal:
    """Compute pi to the precision of the context by Machin's formula 16 arctan(1/5) - 4 arctan(1/239)."""

    def arctan(n: int) -> Decimal:
        term = total = Decimal(1) / n
        k = 1
        while abs(term) > Decimal(10) ** -(getcontext().prec + 2):
            term /= -n * n
            k += 2
            total += term / k
        return total

    return 16 * arctan(5) - 4 * arctan(239)


Formula = Callable[[Arithmetic, Number, Number, Number], Number]


@dataclass(frozen=True)
class Function:
    """f(x) with two parameters, alpha and beta; ``name`` is its ONNX operation's.

    ``slope(alpha, beta)`` bounds the derivative's magnitude, and f(x)'s is at most slope * |x| + ``size(alpha, beta)``.
    2**-21 of that sum also bounds what a float32 evaluation is off by: onnxruntime's, measured at 10**6 points, reach
    2**-21.8 of it (Mish).
    ``rational``: made of + - * / and comparisons.
    """

    name: str
    formula: Formula
    slope: Callable[[float, float], float]
    size: Callable[[float, float], float]
    rational: bool = False

    def floats(self, x: Array, alpha: float, beta: float) -> Array:
        """f on a float64 array."""
        return np.asarray(self.formula(FLOATS, x, alpha, beta))


FLOATS = Floats()


def _sigmoid(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return 1 / (1 + m.exp(-x))


def _tanh(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return m.tanh(x)


def _erf(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return m.erf(x)


def _softplus(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return m.larger(x, 0) + m.log(1 + m.exp(-abs(x)))


def _below(m: Arithmetic, x: Number) -> Number:
    """exp(x) - 1 below 0, else 0."""
    return m.exp(-m.larger(-x, 0)) - 1


def _elu(m: Arithmetic, x: Number, alpha: Number, _b: Number) -> Number:
    return m.larger(x, 0) + alpha * _below(m, x)


def _celu(m: Arithmetic, x: Number, alpha: Number, _b: Number) -> Number:
    return m.larger(x, 0) + alpha * _below(m, x / alpha)


def _selu(m: Arithmetic, x: Number, alpha: Number, gamma: Number) -> Number:
    return gamma * _elu(m, x, alpha, gamma)


def _swish(m: Arithmetic, x: Number, alpha: Number, _b: Number) -> Number:
    return x / (1 + m.exp(-alpha * x))


def _hard_swish(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    sixth, half = m.number(float(np.float32(1 / 6))), m.number(0.5)
    return x * -m.larger(-m.larger(x * sixth + half, 0), -1)


def _gelu(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return x * m.number(0.5) * (1 + m.erf(x / m.number(2.0) ** m.number(0.5)))


def _gelu_tanh(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    root, cube = m.number(float(np.float32((2 / np.pi) ** 0.5))), m.number(float(np.float32(0.044715)))
    return x * m.number(0.5) * (1 + m.tanh(root * (x + cube * x * x * x)))


def _mish(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return x * m.tanh(_softplus(m, x, _a, _b))


def _softsign(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return x / (1 + abs(x))


def _abs(m: Arithmetic, x: Number, _a: Number, _b: Number) -> Number:
    return abs(x)


def _always(value: float) -> Callable[[float, float], float]:
    return lambda _a, _b: value


_ONE, _NONE = _always(1.0), _always(0.0)
_ALL = (
    Function("Sigmoid", _sigmoid, _always(0.25), _ONE),
    Function("Tanh", _tanh, _ONE, _ONE),
    Function("Erf", _erf, _always(1.13), _ONE),
    Function("Softplus", _softplus, _ONE, _ONE),
    Function("Elu", _elu, lambda a, _: max(1.0, abs(a)), lambda a, _: abs(a)),
    Function("Celu", _celu, _ONE, lambda a, _: abs(a)),
    Function("Selu", _selu, lambda a, g: abs(g) * max(1.0, abs(a)), lambda a, g: abs(a * g)),
    Function("Swish", _swish, _always(1.1), _NONE),
    Function("HardSwish", _hard_swish, _always(1.51), _NONE, rational=True),
    Function("Gelu", _gelu, _always(1.13), _NONE),
    Function("GeluTanh", _gelu_tanh, _always(1.13), _NONE),
    Function("Mish", _mish, _always(1.1), _NONE),
    Function("Softsign", _softsign, _ONE, _NONE, rational=True),
    Function("Abs", _abs, _ONE, _NONE, rational=True),
)
FUNCTIONS = {function.name: function for function in _ALL}
