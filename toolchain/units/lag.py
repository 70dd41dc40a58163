"""How far each unit may run ahead: what it has read of its input before what it delivers."""

from __future__ import annotations

from fractions import Fraction
from functools import singledispatch

from toolchain.ir.ops.add import Add
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.maps import Concat, DepthToSpace, Reshape, Slice, Upsample
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.pools import GlobalSum, Pool
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.window import Window
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.units.cycles import group_steps, kernel_extent, silent_steps


@singledispatch
def lag(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    """Upper bound of (fraction of a frame read) - (fraction of a frame delivered), its pipeline aside."""
    raise TypeError(f"no lag for {type(node).__name__}")


@lag.register
def _(node: Window, x: Value, lanes: Parallelism) -> Fraction:
    """While row p leaves, rows for row p + 1 come in: extent - top + (p + 1) * stride rows, and at the end the rest."""
    rows = x.shape[0]
    rest = abs(rows - node.stride[0] * node.output.shape[0])
    return Fraction(max(0, kernel_extent(node)[0] - node.pads[0]) + node.stride[0] + rest, rows)


@lag.register(MatVec)
@lag.register(Concat)
@lag.register(Slice)
def _(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(1, x.shape[0] * x.shape[1])  # one position


@lag.register
def _(node: GroupedMatVec, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(1, x.shape[0] * x.shape[1] * group_steps(node, lanes).rounds)  # one round of groups


@lag.register(Upsample)
@lag.register(DepthToSpace)
def _(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(2, x.shape[0])  # the row that leaves and the one that comes in


@lag.register
def _(node: RowConv, x: Value, lanes: Parallelism) -> Fraction:
    """Columns leave two steps after their products, those of the next step come in, and a row's first leave late."""
    return Fraction((4 + silent_steps(node, lanes)) * lanes.columns, x.shape[0] * x.shape[1])


@lag.register(Depthwise)
@lag.register(Pool)
def _(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(lanes.lanes_out, node.output.size)  # the taps of one output word


@lag.register(GlobalSum)
@lag.register(ArgMax)
def _(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(1)


@lag.register(Threshold)
@lag.register(MulShift)
@lag.register(Add)
@lag.register(Fork)
@lag.register(WidthConvert)
def _(node: Node, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(max(lanes.lanes_in, lanes.lanes_out), x.size)  # one word


@lag.register
def _(node: Reshape, x: Value, lanes: Parallelism) -> Fraction:
    return Fraction(0)
