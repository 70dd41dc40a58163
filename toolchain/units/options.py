"""The lanes and multipliers that every operation can have."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from math import gcd

from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, DepthToSpace, Reshape, Slice, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.units.adder_graph import in_logic
from toolchain.units.fabric import packing, tap_packing, widest_factor
from toolchain.units.limits import MAX_STREAM_BITS, MAX_UNROLL, MEMORY_BITS

READER, WRITER = "input reader", "output writer"


def divisors(number: int) -> list[int]:
    """Divisors of ``number``, ascending."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


@singledispatch
def options(node: Node, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Legal lanes of ``node`` on input ``x``; ``upstream`` are the lanes of the unit before it in its chain, if any.

    Raises:
        TypeError: an operation without options.
    """
    raise TypeError(f"no options for {type(node).__name__}")


@options.register
def _(node: Window, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """One tap of L channels a cycle, or all taps at once."""
    lanes = divisors(x.shape[2])
    serial = [Parallelism(n, n) for n in lanes]
    return serial if node.taps == 1 else serial + [Parallelism(n, n * node.taps) for n in lanes]


@options.register
def _(node: MatVec, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """SIMD is what the window delivers, or any divisor of K; PE any divisor of N; all at once of constants."""
    outputs, k = node.weight.shape
    simd = [upstream.lanes_out] if upstream else divisors(k)
    pairs = [(s, pe) for s in simd for pe in divisors(outputs) if s * pe <= MAX_UNROLL]
    constant = [Parallelism(k, outputs, constant=True)] if k in simd and in_logic(node.weight, node.digits) else []
    return [*(Parallelism(s, pe, n) for s, pe in pairs for n in _products(node, x, pe)), *constant]


@options.register
def _(node: GroupedMatVec, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Within a group as a matrix-vector product, or several whole groups at once; all of them of constants.

    A word of the window holds channels of one group or those of whole groups, and the outputs of groups that are
    multiplied at once leave at once, so that they keep their order.
    """
    channels = node.weight.shape[2]
    pairs: list[tuple[int, int, int]] = []  # SIMD and PE of all groups together, PE of one
    words = [upstream] if upstream else _plain_words(x.shape[2] // node.taps, node.taps)
    for word in words:
        if channels % word.lanes_in == 0:
            pairs += [(word.lanes_out, pe, pe) for pe in divisors(node.group_outputs)]
        elif word.lanes_in % channels == 0:
            outputs = word.lanes_in // channels * node.group_outputs
            pairs.append((word.lanes_out, outputs, node.group_outputs))
    found = [
        Parallelism(simd, outputs, n)
        for simd, outputs, pe in pairs
        if simd * pe <= MAX_UNROLL
        for n in _products(node, x, pe)
    ]
    whole = x.shape[2] in [word.lanes_out for word in words] and in_logic(node.weight, node.digits)
    return [*found, *([Parallelism(x.shape[2], len(node.weight), constant=True)] if whole else [])]


def _plain_words(channels: int, taps: int) -> list[Parallelism]:
    """The words of a stream in plain order: of some channels, or with taps that of a window with all channels."""
    if taps == 1:
        return [Parallelism(n, n) for n in divisors(channels)]
    return [Parallelism(channels, channels), Parallelism(channels, channels * taps)]


@options.register
def _(node: RowConv, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """As many columns as divide a row and fit a DSP slice; the outputs of a step fill whole words."""
    outputs, taps, k = node.weight.shape
    simd = [upstream.lanes_out] if upstream else divisors(k)
    return [
        Parallelism(s, lanes, taps * columns, columns)
        for columns in _columns(node, x)
        for s in simd
        for lanes in divisors(outputs)
        if lanes % columns == 0 and s * taps * lanes // columns <= MAX_UNROLL
    ]


def _columns(node: RowConv, x: Value) -> list[int]:
    """Columns that can be computed at once: without padding, whole steps reach past the row's edge."""
    return [
        columns
        for columns in divisors(x.shape[1])
        if columns > 1
        and tap_packing(node.weight_type, x.qint, node.taps, columns)
        and (node.pad <= columns if node.pad else (node.taps - 1) % columns == 0)
    ]


@options.register
def _(node: Depthwise, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = _tap_options(len(node.weight), node, upstream)
    return [replace(p, products_per_dsp=n) for p in lanes for n in _products(node, x)]


@options.register
def _(node: Pool, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return _tap_options(node.taps, node, upstream)


def _tap_options(taps: int, node: Node, upstream: Parallelism | None) -> list[Parallelism]:
    """The window decides; without one the stream has the plain order, that of a window with all channels."""
    if upstream:
        return [Parallelism(upstream.lanes_out, upstream.lanes_in)]
    channels = node.output.shape[2]
    return [Parallelism(channels * p, channels) for p in sorted({1, taps})]


@options.register
def _(node: MulShift, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = [upstream.lanes_out] if upstream else divisors(x.shape[2])
    return [Parallelism(p, p, n) for p in lanes if x.shape[2] % p == 0 for n in _products(node, x)]


@options.register
def _(node: Add, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Factors a channel of more than two bits are multiplied in LUTs or, where wide, on DSP slices."""
    widest = widest_factor(node)
    products = (None,) if widest is None else (0,) if widest.bits <= 2 else (0, 1)
    return [Parallelism(p, p, n) for p in divisors(x.shape[2]) for n in products]


@options.register(Threshold)
@options.register(Fork)
@options.register(GlobalSum)
def _(node: Node, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    lanes = [upstream.lanes_out] if upstream else divisors(x.shape[2])
    return [Parallelism(n, n) for n in lanes if x.shape[2] % n == 0]


@options.register
def _(node: Concat, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """A word is of one input."""
    return [Parallelism(n, n) for n in divisors(gcd(*node.channels))]


@options.register
def _(node: Slice, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """A word is kept or dropped as a whole."""
    return [Parallelism(n, n) for n in divisors(gcd(x.shape[2], node.start, node.output.shape[2]))]


@options.register
def _(node: Upsample, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return [Parallelism(n, n) for n in divisors(x.shape[2])]


@options.register
def _(node: DepthToSpace, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Channels that lie side by side go to one position, or those of all positions of the block come at once."""
    size = node.block**2 if node.channels_first else 1
    return [Parallelism(n * size, n) for n in divisors(node.output.shape[2])]


@options.register
def _(node: Reshape, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return [Parallelism(n, n) for n in ([upstream.lanes_out] if upstream else divisors(x.size))]


@options.register
def _(node: ArgMax, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    return [Parallelism(n, 1) for n in divisors(x.shape[2])]


@options.register
def _(node: WidthConvert, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """None of its own: its neighbours' lanes decide."""
    return []


def multiplier_operands(node: Node, x: Value) -> tuple[QInt, QInt] | None:
    """Types of the two factors of the products that ``node`` chooses a fabric for; None when it has none."""
    if isinstance(node, (MatVec, GroupedMatVec, Depthwise)):
        return node.weight_type, x.qint
    if isinstance(node, MulShift) and (node.mul != 1).any():
        return QInt.holding(int(node.mul.min()), int(node.mul.max())), x.qint
    if isinstance(node, Add) and (widest := widest_factor(node)) is not None:
        return widest, x.qint
    return None


def _products(node: Node, x: Value, pe: int = 1) -> list[int | None]:
    """How ``node`` can multiply: in LUTs, or with one product or several of ``pe`` outputs a DSP slice.

    A factor of one or two bits only selects or negates the other: LUTs do that with less than a slice's wiring.
    """
    operands = multiplier_operands(node, x)
    if operands is None:
        return [None]
    if min(kind.bits for kind in operands) <= 2:
        return [0]
    packed = packing(*operands) if isinstance(node, (MatVec, GroupedMatVec)) else {}
    return [0, 1, *(n for n in packed if pe % n == 0)]


def fits_streams(node: Node, x: Value, lanes: Parallelism) -> bool:
    """Whether the words that ``node`` reads and writes stay within the widest stream."""
    widths = (lanes.lanes_in * x.qint.bits, *(lanes.lanes_out * value.qint.bits for value in node.outputs))
    return max(widths) <= MAX_STREAM_BITS


def boundary_options(value: Value, *, flat: bool) -> list[int]:
    """Lanes of the reader or writer of ``value``: within one memory word; across pixels when it is ``flat`` anyway."""
    lanes = divisors(value.size if flat else value.shape[2])
    return [n for n in lanes if n * value.qint.bits <= MEMORY_BITS] or [1]
