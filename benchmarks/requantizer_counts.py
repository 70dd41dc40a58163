"""The parts that a requantizer's LUTs consist of in SystemVerilog.

The cost model charges what any synthesis needs. yosys adds the half and the odd bit of a rounding in two chains, finds
thresholds and offsets of a single word to be constants only when its comparisons are chains already, and pairs no small
LUTs of a memory. It builds equal columns of a memory once, no addition of zero and no rounding without a shift.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from toolchain.ir.digits import signed_digits
from toolchain.ir.graph import Graph
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Array, QInt, Value
from toolchain.units.cost_model import parts
from toolchain.units.fabric import products_per_dsp, use_lutram
from toolchain.units.order import parallelism

CONTROL = 50.0  # LUTs of a unit without state, the size of the parts' other numbers
INPUTS = 6  # of a LUT
CHUNK = 3  # bits of a comparison that one bit of yosys' chain takes


def requantizer_parts(node: MulShift | Threshold, graph: Graph) -> tuple[str, dict[str, float]]:
    """The shape in words, and LUTs by part, those of the unit's FIFOs not among them."""
    x, lanes = graph.value(node.inputs[0]), parallelism(node)
    sizes = "x".join(map(str, x.shape))
    shape = f"{sizes} {x.qint} -> {node.output.qint}, {lanes.lanes_in} lanes, {lanes.products_per_dsp} a slice"
    found = _mul_shift(node, x) if isinstance(node, MulShift) else _threshold(node, x)
    return shape, {"control": CONTROL, **found}


def _mul_shift(node: MulShift, x: Value) -> dict[str, float]:
    """Product, sum, rounding and clip of every lane, and the memories."""
    lanes, factor = parallelism(node), QInt.holding(int(node.mul.min()), int(node.mul.max()))
    count, out = lanes.lanes_in, node.output.qint.bits
    low, high = node.line_range(x.qint.min, x.qint.max)
    total = QInt.holding(min(low, node.low, 0), max(high, node.high, 0) + (1 << node.shift) // 2)
    wide = total.bits + (not total.signed)
    quotient = max(wide - node.shift, out + 1)
    ends = (node.low > -(1 << (quotient - 1))) + (node.high < (1 << (quotient - 1)) - 1)
    found: dict[str, float] = {"clip": count * (out + ends * max(1, ceil((quotient - 1 - out) / (INPUTS - 1))))}
    if node.add.any() or node.base.any():
        found["sum"] = count * wide
    if node.shift:
        found["rounding"] = count * wide
    if (node.mul != 1).any() and not products_per_dsp(lanes, factor, x.qint):
        varies = x.shape[2] > count and (node.mul != node.mul[0]).any()
        constant = max(signed_digits(node.mul) - len(node.mul), 0) * (x.qint.bits + 1) / len(node.mul)
        found["product"] = count * (parts.multiplier(factor.bits, x.qint.bits) if varies else constant)
    return found | {"rom": sum(_rom(values, count) for values in (node.mul, node.add, node.base))}


def _threshold(node: Threshold, x: Value) -> dict[str, float]:
    """Comparisons, their count and the code of every lane, and the memories."""
    lanes, out = parallelism(node).lanes_in, node.output.qint.bits
    reachable = np.clip(node.thresholds, x.qint.min, x.qint.max + 1)
    within = int(((reachable > x.qint.min) & (reachable <= x.qint.max)).any(axis=0).sum())
    found = {"count": lanes * parts.adder_tree(within, 1)}
    steps = ((step, words) for columns, words in _of_lanes(reachable, lanes) for step in columns)
    found["compare"] = sum(_comparison(step, words, x.qint) for step, words in steps)
    if (node.step != 1).any() or node.start.any():
        found["code"] = lanes * (out + 1)
    return found | {"rom": _rom(reachable, lanes)}


def _comparison(step: Array, words: int, kind: QInt) -> int:
    """LUTs that compare an input with the numbers of ``step``, of memories of so many unlike words.

    A chain has one LUT for three bits and a wired word, two for three bits of each operand; of six bits in all a table
    is left.
    """
    if not ((step > kind.min) & (step <= kind.max)).any():
        return 0
    chunks = ceil((kind.bits + (not kind.signed)) / CHUNK)
    if words == 1:
        return chunks
    return 1 if kind.bits + len(_columns(step[:, None])) <= INPUTS else 2 * chunks


def _of_lanes(values: Array, lanes: int) -> Iterator[tuple[Array, int]]:
    """The numbers of every lane (numbers a word, words), and how many words differ."""
    for lane in range(lanes):
        words = values[lane::lanes] if len(values) > 1 else values
        words = words.reshape(len(words), -1)
        yield words.T, len(np.unique(words, axis=0))


def _rom(values: Array, lanes: int) -> float:
    """LUTs of the memories of all lanes, none of those that lie in block RAM."""
    if len(values) == 1:
        return 0.0
    words = len(values) // lanes
    width = QInt.holding(int(values.min()), int(values.max())).bits * int(np.prod(values.shape[1:]))
    if words == 1 or not use_lutram(words, width):
        return 0.0
    return float(sum(len(_columns(numbers.T)) for numbers, _ in _of_lanes(values, lanes)) * ceil(words / 64))


def _columns(words: Array) -> set[bytes]:
    """Unlike columns of bits of ``words`` (words, numbers) that are no constant; one and its inverse are alike."""
    numbers = words.astype(np.int64)
    bits = ((numbers >> bit & 1).astype(bool) for bit in range(int(np.abs(numbers).max()).bit_length() + 1))
    columns = (column ^ column[0] for plane in bits for column in plane.T)
    return {column.tobytes() for column in columns if column.any()}
