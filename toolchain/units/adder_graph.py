"""A product with a constant matrix as a network of additions: zero weights vanish, powers of two are wires.

The search for common subexpressions is da4ml's (Sun et al., distributed arithmetic for machine learning). What it finds
is read into integers here and proved: the coefficients of every output are the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from toolchain.errors import FlowError
from toolchain.ir.ops.products import GroupedMatVec, MatVec, dot_bounds
from toolchain.ir.types import Array, QInt

if TYPE_CHECKING:
    from da4ml.types import CombLogic

MAX_DIGITS = 5000
"""Most nonzero signed digits of a matrix that is built from constants: the search takes about a second for them."""


WIDEST_CONSTANT = (1 << 24) - 1
"""Largest weight of such a matrix: the search is given float32."""


def in_logic(weight: Array, digits: int) -> bool:
    """Return whether a product with ``weight``, of ``digits`` signed digits, can be built from constants."""
    return digits <= MAX_DIGITS and int(np.abs(weight).max(initial=0)) <= WIDEST_CONSTANT


@dataclass(frozen=True)
class Sum:
    """``(a << left_shift) + (b << right_shift)``, or the difference; a and b are inputs or earlier sums, by index."""

    left: int
    right: int
    left_shift: int
    right_shift: int
    minus: bool
    type: QInt

    @property
    def luts(self) -> int:
        """LUTs of the carry chain, one a bit; low bits of only one operand pass by it."""
        passing = self.right_shift if self.minus else max(self.left_shift, self.right_shift)
        return max(self.type.bits - passing, 1)


@dataclass(frozen=True)
class Output:
    """Input or sum number ``source`` shifted by ``shift``, ``negative`` or not; a zero without a source."""

    source: int | None
    shift: int = 0
    negative: bool = False


@dataclass(frozen=True)
class AdderGraph:
    """``inputs`` numbers, then sums of what stands before them, numbered on; and what leaves."""

    inputs: int
    sums: tuple[Sum, ...]
    outputs: tuple[Output, ...]

    def operand(self, number: int) -> str:
        """Name of input or sum ``number`` in C++."""
        return f"x[{number}]" if number < self.inputs else f"s{number - self.inputs}"

    def reordered(self, order: Array) -> AdderGraph:
        """Return the graph on inputs in another order: place i carries what was input ``order[i]``."""
        return self.placed(np.argsort(order).tolist(), self.inputs, 0)

    def placed(self, places: Sequence[int], inputs: int, sums: int) -> AdderGraph:
        """Return the graph on ``places`` of ``inputs`` inputs, with its sums numbered behind ``sums``."""
        place = [*places, *range(inputs + sums, inputs + sums + len(self.sums))]
        moved = (replace(s, left=place[s.left], right=place[s.right]) for s in self.sums)
        outputs = (o if o.source is None else replace(o, source=place[o.source]) for o in self.outputs)
        return AdderGraph(inputs, tuple(moved), tuple(outputs))


def product_graph(node: MatVec | GroupedMatVec, act: QInt) -> AdderGraph:
    """The network of the product ``node`` on inputs of type ``act``; cached by value.

    Groups have no input in common, hence no term: each is searched by itself, which takes a part of the time.

    Raises:
        FlowError: as ``adder_graph``.
    """
    if isinstance(node, MatVec):
        return adder_graph(node.weight, act)
    return _by_group(_bytes(node.weight), node.weight.shape, node.groups, act)


@lru_cache(maxsize=128)
def _by_group(data: bytes, shape: tuple[int, int, int], groups: int, act: QInt) -> AdderGraph:
    outputs, taps, channels = shape
    filters = np.frombuffer(data, dtype=np.int32).reshape(groups, outputs // groups, taps * channels)
    places = np.arange(taps * groups * channels).reshape(taps, groups, channels).transpose(1, 0, 2)
    sums: list[Sum] = []
    found: list[Output] = []
    for weight, own in zip(filters, places.reshape(groups, -1).tolist(), strict=True):
        part = _searched(weight.astype(np.int64), act).placed(own, places.size, len(sums))
        sums += part.sums
        found += part.outputs
    return AdderGraph(places.size, tuple(sums), tuple(found))


def adder_graph(weight: Array, act: QInt) -> AdderGraph:
    """The network for ``weight`` (N, K) on inputs of type ``act``; cached by value.

    Raises:
        FlowError: the network found is not the matrix, or a weight is wider than ``in_logic`` allows.
    """
    return _of_matrix(_bytes(weight), weight.shape, act)


def _bytes(weight: Array) -> bytes:
    if int(np.abs(weight).max(initial=0)) > WIDEST_CONSTANT:
        raise FlowError(f"an adder graph of weights beyond {WIDEST_CONSTANT}")
    return weight.astype(np.int32).tobytes()


@lru_cache(maxsize=128)
def _of_matrix(data: bytes, shape: tuple[int, int], act: QInt) -> AdderGraph:
    return _searched(np.frombuffer(data, dtype=np.int32).reshape(shape).astype(np.int64), act)


def _searched(weight: Array, act: QInt) -> AdderGraph:
    from da4ml.cmvm import solve  # here: a tenth of a second that most commands do without

    inputs = weight.shape[1]
    interval = (float(act.min), float(act.max), 1.0)
    pipeline = solve(
        np.ascontiguousarray(weight.T, dtype=np.float32),
        qintervals=[interval] * inputs,
        adder_size=1,
        carry_size=-1,
        search_all_decompose_dc=False,
    )
    network = _Network(inputs, act)
    signals = [_Signal(i, 0, False) for i in range(inputs)]
    for stage in pipeline.solutions:
        signals = network.stage(stage, signals)
    return network.graph(signals, weight)


@dataclass(frozen=True)
class _Signal:
    """A node's integer times 2**exponent, negated or not; without a node zero."""

    node: int | None
    exponent: int
    negative: bool


class _Network:
    """Sums in integers with their coefficients, made from stages of fixed-point operations."""

    def __init__(self, inputs: int, act: QInt) -> None:
        self.inputs, self.act = inputs, act
        self.sums: list[Sum] = []
        self.rows: list[Array] = list(np.eye(inputs, dtype=np.int64))

    def stage(self, stage: CombLogic, inputs: list[_Signal]) -> list[_Signal]:
        """The outputs of one of da4ml's stages on ``inputs``."""
        found: list[_Signal] = []
        for op in stage.ops:
            if op.opcode == -1:
                found.append(_shifted(inputs[op.id0], stage.inp_shifts[op.id0]))
            elif op.opcode in (0, 1):
                found.append(self._sum(found[op.id0], _shifted(found[op.id1], op.data), minus=op.opcode == 1))
            else:
                raise FlowError(f"an adder graph with operation {op.opcode}")
        ends = zip(stage.out_idxs, stage.out_shifts, stage.out_negs, strict=True)
        return [
            _Signal(None, 0, False) if index < 0 else _negated(_shifted(found[index], shift), negative)
            for index, shift, negative in ends
        ]

    def _sum(self, a: _Signal, b: _Signal, *, minus: bool) -> _Signal:
        if a.node is None or b.node is None:
            return a if b.node is None else _negated(b, minus)
        minus ^= a.negative != b.negative
        base = min(a.exponent, b.exponent)
        shifts = a.exponent - base, b.exponent - base
        row = (self.rows[a.node] << shifts[0]) + (-1 if minus else 1) * (self.rows[b.node] << shifts[1])
        low, high = dot_bounds(row[None], self.act.min, self.act.max)
        kind = QInt.holding(int(low[0]), int(high[0]))
        self.rows.append(row)
        self.sums.append(Sum(a.node, b.node, *shifts, minus, kind))
        return _Signal(len(self.rows) - 1, base, a.negative)

    def graph(self, signals: list[_Signal], weight: Array) -> AdderGraph:
        """The graph whose outputs are ``signals``, proved equal to ``weight``, without sums that nothing needs."""
        for signal, row in zip(signals, weight, strict=True):
            found = np.zeros(self.inputs, dtype=np.int64) if signal.node is None else self.rows[signal.node]
            scaled = found * 2.0**signal.exponent * (-1 if signal.negative else 1)
            if signal.exponent < 0 or not np.array_equal(scaled, row):
                raise FlowError("an adder graph that is not its matrix")
        needed = {signal.node for signal in signals}
        for number in range(len(self.rows) - 1, self.inputs - 1, -1):
            if number in needed:
                needed |= {self.sums[number - self.inputs].left, self.sums[number - self.inputs].right}
        kept = [n for n in range(self.inputs, len(self.rows)) if n in needed]
        place = {n: i for i, n in enumerate((*range(self.inputs), *kept))}
        sums = (self.sums[n - self.inputs] for n in kept)
        return AdderGraph(
            self.inputs,
            tuple(replace(s, left=place[s.left], right=place[s.right]) for s in sums),
            tuple(Output(s.node if s.node is None else place[s.node], s.exponent, s.negative) for s in signals),
        )


def _shifted(signal: _Signal, shift: int) -> _Signal:
    return signal if signal.node is None else _Signal(signal.node, signal.exponent + shift, signal.negative)


def _negated(signal: _Signal, negative: bool) -> _Signal:
    return _Signal(signal.node, signal.exponent, signal.negative != negative)
