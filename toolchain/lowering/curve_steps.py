"""The staircase of a quantizer behind a function of one integer, as runs of integers that give one code.

A function is evaluated on intervals: a value in float64, and what it is off by at most. Of the integers of a cell that
is the function's slope times half the cell, of a single one what float64 rounds.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from fractions import Fraction
from functools import cached_property, singledispatch
from math import isinf

import numpy as np

from toolchain.ir.curves import Arithmetic, Decimals, Fractions, Number
from toolchain.ir.ops.model import Affine, Clamp, Curve, LeakyRelu, RealAdd, RealMul, Relu
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Array, QInt, Quantizer
from toolchain.lowering.requantize import code_of
from toolchain.lowering.scaled import Lane, Scaled
from toolchain.lowering.state import Curved

Interval = tuple[Array, Array]
"""Values, and what they are off by at most."""
ROUNDOFF = 2.0**-48
"""Bound of the relative error of some float64 operations; a function of the C library is right to a few of 2**-52."""
CELLS = 512
"""Cells of a channel that are looked at first."""
PARTS = 16
"""Into how many parts an uncertain cell is cut."""
BLOCK = 1 << 18
"""Cells that are evaluated together."""
MOST_CELLS = 1 << 22
"""Cells that are cut from those of a size."""
MOST_TIES = 1 << 16
"""Integers whose code takes more than float64."""
DIGITS = (40, 80, 160)
"""Precisions that are tried; a value that the last one does not tell from a tie is one, as sigmoid(0) = 1/2 is."""


class TooManyTies(Exception):
    """A function that lies on a tie of its quantizer, or next to one, or changes its code, at many integers."""

    def __init__(self) -> None:
        super().__init__("a function that lies next to ties, or changes its code, at too many integers to be proven")


class CurveSteps:
    """``runs``: for each channel, or once where all are alike, the first integers of the runs and their codes."""

    def __init__(self, x: Curved, quantizer: Quantizer) -> None:
        self.x, self.quantizer = x, quantizer
        self.low, self.high = x.term.low, x.term.high
        widths = [len(v) for root in x.roots.values() for v in _numbers(root)]
        widths += [len(v) for node in x.nodes for v in vars(node).values() if isinstance(v, np.ndarray)]
        self.rows = max(*widths, len(quantizer.scale))
        self.lanes = [{name: Lane(root, c) for name, root in x.roots.items()} for c in range(self.rows)]
        self.scale = np.array(quantizer.scale)
        self.ties = 0
        self.runs = self._runs()

    @cached_property
    def unit(self) -> int:
        """Least difference of two codes."""
        return 2 if self.quantizer.bipolar else 1

    @property
    def first(self) -> Array:
        """The code of the least integer in every channel."""
        return np.array([codes[0] for _, codes in self.runs])

    def thresholds(self) -> tuple[Array, Array]:
        """Thresholds and their steps, (rows, T): as many of one integer as codes are passed there."""
        found = []
        for starts, codes in self.runs:
            change = np.diff(codes)
            count = np.abs(change) // self.unit
            found.append((np.repeat(starts[1:], count), np.repeat(np.sign(change) * self.unit, count)))
        most = max(1, *(len(steps) for _, steps in found))
        thresholds = np.full((self.rows, most), self.high + 1, dtype=np.int64)
        sizes = np.full((self.rows, most), self.unit, dtype=np.int64)
        for row, (places, steps) in enumerate(found):
            thresholds[row, : len(places)] = places
            sizes[row] = steps[0] if len(steps) else self.unit
            sizes[row, : len(steps)] = steps
        return thresholds, sizes

    def table(self, kind: QInt) -> Array:
        """The code of every integer of ``kind``, (rows, N); those that do not occur have a neighbour's."""
        found = []
        for starts, codes in self.runs:
            ends = [kind.min, *starts[1:].tolist(), kind.max + 1]
            found.append(np.repeat(codes, np.diff(ends)))
        return np.array(found, dtype=np.int64)

    def _runs(self) -> list[tuple[Array, Array]]:
        size = 1 << max((self.high - self.low) // CELLS, 0).bit_length()
        starts = np.arange(self.low, self.high + 1, size)
        row, start = np.repeat(np.arange(self.rows), len(starts)), np.tile(starts, self.rows)
        rows: list[Array] = []
        places: list[Array] = []
        codes: list[Array] = []
        while len(row):
            last = np.minimum(start + size - 1, self.high)
            low, high = self._bounds(row, start, last)
            sure = low == high
            if size == 1:
                unsure = np.flatnonzero(~sure)
                self.ties += len(unsure)
                if self.ties > MOST_TIES:
                    raise TooManyTies
                which, at = row[unsure], start[unsure]
                _, error = self._interval(which, at, at)
                low[unsure] = [
                    self._exact(*each) for each in zip(which.tolist(), at.tolist(), error.tolist(), strict=True)
                ]
                sure[:] = True
            rows, places, codes = [*rows, row[sure]], [*places, start[sure]], [*codes, low[sure]]
            size = max(size // PARTS, 1)
            within = np.arange(-(-int((last - start).max(initial=0) + 1) // size)) * size
            if int((~sure).sum()) * len(within) > MOST_CELLS:
                raise TooManyTies
            start = (start[~sure, None] + within).reshape(-1)
            row, last = (np.repeat(v[~sure], len(within)) for v in (row, last))
            row, start = row[start <= last], start[start <= last]
        return _joined(self.rows, np.concatenate(rows), np.concatenate(places), np.concatenate(codes))

    def _bounds(self, row: Array, first: Array, last: Array) -> tuple[Array, Array]:
        """The least and the greatest code that the integers of each cell may have."""
        low, high = np.empty(len(row), dtype=np.int64), np.empty(len(row), dtype=np.int64)
        for at in range(0, len(row), BLOCK):
            part = slice(at, at + BLOCK)
            value, error = self._interval(row[part], first[part], last[part])
            low[part], high[part] = (self._codes(value + sign * error, row[part]) for sign in (-1, 1))
        return low, high

    def _codes(self, values: Array, row: Array) -> Array:
        quantizer = self.quantizer
        if quantizer.bipolar:
            return np.where(values >= 0, 1, -1)
        position = values / _entries(self.scale, row) + quantizer.zero_point
        return quantizer.rounding.floats(np.clip(position, quantizer.low, quantizer.high)).astype(np.int64)

    def _interval(self, row: Array, first: Array, last: Array) -> Interval:
        """The function on each cell."""
        known: dict[str, Interval] = {}
        for name in self.x.roots:
            ends = [self._root(name, row, end) for end in (first, last)]
            (a, error), (b, other) = ends
            known[name] = (a + b) / 2, np.abs(b - a) / 2 + np.maximum(error, other)
        for node in self.x.nodes:
            value, error = spread(node, row, *(known[name] for name in node.inputs))
            known[node.output.name] = value, error
        value, error = known[self.x.output]
        return value, error + ROUNDOFF * (np.abs(value) + _entries(self.scale, row) * abs(self.quantizer.zero_point))

    def _root(self, name: str, row: Array, q: Array) -> Interval:
        """A root at the integers ``q``: a monotone function of them."""
        x = self.x.roots[name]
        line = _floats(x.terms[0].scale, row) * q
        offset = _floats(x.offset, row)
        value = line + offset
        if x.bent:
            knee, leak = _floats(x.knee, row), _floats(x.leak, row)
            value = np.where(value < knee, knee + leak * (value - knee), value)
        value = np.maximum(value, _floats(tuple(-np.inf if f is None else f for f in x.floor), row))
        value = np.minimum(value, _floats(tuple(np.inf if c is None else c for c in x.ceiling), row))
        steepest = max(1.0, *(float(v) for v in x.leak)) * 3
        return value, ROUNDOFF * steepest * (np.abs(line) + np.abs(offset) + np.abs(_floats(x.knee, row)))

    def _exact(self, row: int, q: int, error: float) -> int:
        """Return the code of one integer, computed in fractions or to 160 digits; ``error`` is that of float64."""
        if all(node.function.rational for node in self.x.nodes if isinstance(node, Curve)):
            return self._code(self._at(row, q, Fractions()), row)
        for digits in DIGITS:
            with localcontext() as context:
                context.prec, context.Emax, context.Emin = digits, MAX_EMAX, MIN_EMIN
                value = Fraction(self._at(row, q, Decimals()))
            off = Fraction(error) * (1 << 48) / 10 ** (digits - 3)  # as many times less as the digits are finer
            low, high = (self._code(value + sign * off, row) for sign in (-1, 1))
            if low == high:
                return low
        step = Fraction(self.quantizer.scale[row if len(self.quantizer.scale) > 1 else 0])
        return self._code(round(2 * value / step) * step / 2, row)

    def _at(self, row: int, q: int, m: Arithmetic) -> Number:
        lanes = self.lanes[row]
        known = {name: _number(m, lane.real(q)) for name, lane in lanes.items()}
        for node in self.x.nodes:
            known[node.output.name] = exact(node, row, m, *(known[name] for name in node.inputs))
        return known[self.x.output]

    def _code(self, value: Fraction, row: int) -> int:
        quantizer = self.quantizer
        if quantizer.bipolar:
            return 1 if value >= 0 else -1
        scale = Fraction(quantizer.scale[row if len(quantizer.scale) > 1 else 0])
        position = value / scale + quantizer.zero_point
        return code_of(*position.as_integer_ratio(), quantizer.low, quantizer.high, quantizer.rounding)


def _numbers(x: Scaled) -> tuple[tuple[object, ...], ...]:
    return x.terms[0].scale, x.offset, x.floor, x.ceiling, x.knee, x.leak


def _entries(values: Array, row: Array) -> Array:
    return values[row] if len(values) > 1 else values


def _floats(values: tuple[Fraction | float, ...], row: Array) -> Array:
    return _entries(np.array([float(v) for v in values]), row)


def _number(m: Arithmetic, value: Fraction) -> Number:
    return value if isinstance(m, Fractions) else Decimal(value.numerator) / Decimal(value.denominator)


def _joined(count: int, rows: Array, places: Array, codes: Array) -> list[tuple[Array, Array]]:
    """The runs of every row, ascending, neighbours of one code joined."""
    order = np.lexsort((places, rows))
    rows, places, codes = rows[order], places[order], codes[order]
    found = []
    for row in range(count):
        mine = slice(*np.searchsorted(rows, [row, row + 1]))
        first = np.concatenate([[True], np.diff(codes[mine]) != 0])
        found.append((places[mine][first], codes[mine][first]))
    return found


@singledispatch
def spread(node: Node, row: Array, *inputs: Interval) -> Interval:
    """Apply ``node`` to intervals (value, error bound), one a cell; ``row`` holds the channel of each cell."""
    raise TypeError(f"no intervals for {type(node).__name__}")


@spread.register
def _(node: Affine, row: Array, x: Interval) -> Interval:
    scale, shift = _entries(node.scale, row), _entries(node.shift, row)
    product = x[0] * scale
    return product + shift, x[1] * np.abs(scale) + ROUNDOFF * (np.abs(product) + np.abs(shift))


@spread.register
def _(node: Relu, row: Array, x: Interval) -> Interval:
    return np.maximum(x[0], 0.0), x[1]


@spread.register
def _(node: Clamp, row: Array, x: Interval) -> Interval:
    return np.clip(x[0], node.low, node.high), x[1]


@spread.register
def _(node: LeakyRelu, row: Array, x: Interval) -> Interval:
    slope = _entries(node.slope, row)
    bent = np.where(x[0] >= 0, x[0], x[0] * slope)
    return bent, x[1] * np.maximum(slope, 1.0) + ROUNDOFF * np.abs(bent)


@spread.register
def _(node: Curve, row: Array, x: Interval) -> Interval:
    function, numbers = node.function, (node.alpha, node.beta)
    slope, size = function.slope(*numbers), function.size(*numbers)
    error = slope * x[1] + ROUNDOFF * (slope * np.abs(x[0]) + size)
    return function.floats(x[0], *numbers), error


@spread.register
def _(node: RealAdd, row: Array, a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1] + ROUNDOFF * (np.abs(a[0]) + np.abs(b[0]))


@spread.register
def _(node: RealMul, row: Array, a: Interval, b: Interval) -> Interval:
    product = a[0] * b[0]
    error = np.abs(a[0]) * b[1] + np.abs(b[0]) * a[1] + a[1] * b[1]
    return product, error + ROUNDOFF * np.abs(product)


def exact(node: Node, row: int, m: Arithmetic, *inputs: Number) -> Number:
    """Apply ``node`` to numbers of the arithmetic ``m`` in the channel ``row``."""

    def entry(values: Array) -> Number:
        return m.number(float(values[row if len(values) > 1 else 0]))

    x = inputs[0]
    match node:
        case Affine():
            return x * entry(node.scale) + entry(node.shift)
        case Relu():
            return m.larger(x, 0)
        case Clamp():
            x = x if isinf(node.low) else m.larger(x, m.number(node.low))
            return x if isinf(node.high) else -m.larger(-x, m.number(-node.high))
        case LeakyRelu():
            return x if x >= 0 else x * entry(node.slope)
        case Curve():
            return node.function.formula(m, x, m.number(node.alpha), m.number(node.beta))
        case RealAdd():
            return x + inputs[1]
        case RealMul():
            return x * inputs[1]
    raise TypeError(f"no exact value for {type(node).__name__}")
