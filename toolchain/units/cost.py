"""Resources of every unit after placement and routing, as a sum of its parts (docs/decisions/0004-cost-model.md)."""

from __future__ import annotations

from functools import singledispatch
from math import ceil

from toolchain.ir.digits import signed_digits
from toolchain.ir.graph import Graph
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
from toolchain.resources import Resources, total
from toolchain.units.adder_graph import product_graph
from toolchain.units.cycles import (
    GroupSteps,
    boundary_lanes,
    buffer_rows,
    group_steps,
    is_parallel,
    kernel_extent,
    row_steps,
    row_words,
)
from toolchain.units.fabric import (
    counts_bits,
    digit_type,
    products_per_dsp,
    scalings,
    stored_weight,
    tap_packing,
    widest_factor,
)
from toolchain.units.fabric_costs import (
    AXI_BRAM18,
    AXI_FF,
    AXI_LUT,
    SRL_DEPTH,
    STREAM_LUT,
    accumulator,
    adder_tree,
    additions,
    chosen_sum,
    comparator,
    control,
    dot_product,
    fifo,
    logic,
    memory,
    multiplier,
    packed_multiplier,
    plane_dot,
    requantizer,
    rom,
    scaled_copies,
)


def cost(node: Node, graph: Graph, lanes: Parallelism | None = None) -> Resources:
    """Resources of ``node`` with ``lanes`` or its own parallelism, and of the streams it writes.

    Raises:
        ValueError: no parallelism is known.
        TypeError: an operation without a cost.
    """
    lanes = lanes or node.parallelism
    if lanes is None:
        raise ValueError(f"node '{node.name}' has no parallelism")
    first, *others = (graph.value(name) for name in node.inputs)
    unit = unit_cost(node, first, lanes, *others)
    if isinstance(node, Reshape):
        return unit
    return total((unit, *(stream_cost(value, lanes.lanes_out) for value in node.outputs)))


def stream_cost(value: Value, lanes: int) -> Resources:
    """The FIFO that carries ``value``, two words deep unless it says otherwise."""
    return fifo(value.depth or 2, lanes * value.qint.bits)


def reader_cost(value: Value, lanes: int) -> Resources:
    """The unit that reads the accelerator's input from memory, with the stream it writes."""
    return total((_AXI, logic(STREAM_LUT), stream_cost(value, lanes)))


def writer_cost(value: Value, lanes: int) -> Resources:
    """The unit that writes the accelerator's output to memory."""
    return total((_AXI, logic(STREAM_LUT)))


def graph_cost(graph: Graph) -> Resources:
    """Everything in a HARDWARE graph: units, streams, the reader and the writer; not the shell around them.

    A Reshape has no stream of its own, so the depth of its output is not counted.
    """
    reader, writer = boundary_lanes(graph)
    ends = (reader_cost(graph.input, reader), writer_cost(graph.value(graph.output), writer))
    return total((*ends, *(cost(node, graph) for node in graph.nodes)))


_AXI = Resources(lut=AXI_LUT, ff=AXI_FF, bram18=AXI_BRAM18)


@singledispatch
def unit_cost(node: Node, x: Value, lanes: Parallelism, *others: Value) -> Resources:
    """Resources of the unit alone, on input ``x`` and, of a join, its ``others``, with ``lanes``."""
    raise TypeError(f"no cost for {type(node).__name__}")


@unit_cost.register
def _(node: Window, x: Value, lanes: Parallelism) -> Resources:
    """The row buffer; in parallel one bank a row, a rotation by row and a shift register a kernel row."""
    rows, words, width = buffer_rows(node, x), row_words(x, lanes.lanes_in), lanes.lanes_in * x.qint.bits
    if not is_parallel(node, lanes):
        return total((control(), memory(rows * words, width)))
    groups = x.shape[2] // lanes.lanes_in
    rotation = node.kernel[0] * width * _choice(rows)
    shifts = node.kernel[0] * (kernel_extent(node)[1] - 1) * width * ceil(groups / SRL_DEPTH)
    taps = Resources(ff=node.taps * width)
    return total((control(), logic(rotation + shifts), taps, memory(words, width) * rows))


@unit_cost.register
def _(node: MatVec, x: Value, lanes: Parallelism) -> Resources:
    """PE dot products of SIMD terms, a weight memory each, and the input vector kept for the other outputs."""
    if lanes.constant:
        return _constant_cost(node, x.qint)
    simd, pe = lanes.lanes_in, lanes.lanes_out
    outputs, k = node.weight.shape
    return _product_cost(node, x.qint, lanes, GroupSteps(1, 1, outputs // pe, k // simd, simd, pe))


@unit_cost.register
def _(node: GroupedMatVec, x: Value, lanes: Parallelism) -> Resources:
    """The dot products of the groups that are multiplied at once."""
    return (
        _constant_cost(node, x.qint) if lanes.constant else _product_cost(node, x.qint, lanes, group_steps(node, lanes))
    )


def _constant_cost(node: MatVec | GroupedMatVec, act: QInt) -> Resources:
    return total((logic(STREAM_LUT), additions(product_graph(node, act), act)))


def _product_cost(node: MatVec | GroupedMatVec, act: QInt, lanes: Parallelism, loops: GroupSteps) -> Resources:
    """What ``loops`` take: dot products, weight memories, and the inputs kept for other outputs of a round."""
    simd, pe, steps = loops.simd, loops.pe, loops.input_blocks
    products = products_per_dsp(lanes, node.weight_type, act)
    stored = stored_weight(node, products)
    if not products and (node.signs or counts_bits(stored, act)):
        dots = _narrow_dots(node, act, stored, terms=simd, count=pe, steps=steps)
    else:
        dots = _dots(node.weight_type, act, node.output.qint, lanes, terms=simd, count=pe, steps=steps)
    weights = rom(loops.rounds * loops.cycles, simd * stored.bits)
    kept = memory(steps, simd * act.bits) if loops.output_blocks > 1 else Resources()
    return total((control(), (dots + weights * pe) * loops.together, kept))


@unit_cost.register
def _(node: RowConv, x: Value, lanes: Parallelism) -> Resources:
    """A DSP slice an input and a PE; fields are summed behind chains of slices, which add up by themselves.

    Packing and unpacking are wires, but for signed inputs. Around the sums: what waits for the next step, the columns
    of this one and the next, and the ring of columns that leave.
    """
    _, taps, _ = node.weight.shape
    simd, columns, bits = lanes.lanes_in, lanes.columns, node.output.qint.bits
    pe, step = lanes.lanes_out // columns, row_steps(node, lanes)
    packing = tap_packing(node.weight_type, x.qint, taps, columns)
    if packing is None:
        raise ValueError(f"node '{node.name}' cannot take {columns} columns at once")
    fields = taps + columns - 1
    sums = adder_tree(ceil(simd / packing.chain), packing.spacing) * fields
    added = fields if step.input_blocks > 1 else taps - 1
    waiting = (taps - 1) * bits * ceil(step.output_blocks / SRL_DEPTH)
    ring = memory(4 * step.output_blocks // columns, bits) * columns**2 + logic(bits * columns * ceil(columns / 4))
    weights = rom(step.cycles, simd * taps * digit_type(node.weight).bits)
    pack = logic(simd * (columns - 1) * x.qint.bits if x.qint.signed else 0)
    kept = memory(2 * step.input_blocks, simd * x.qint.bits) * columns
    slices = Resources(dsp=simd)
    return total((control(), pack, kept, (slices + sums + logic(added * bits + waiting) + ring + weights) * pe))


@unit_cost.register
def _(node: Depthwise, x: Value, lanes: Parallelism) -> Resources:
    """A dot product over the taps a lane, with a weight memory each."""
    taps, channels = node.weight.shape
    parallel = lanes.lanes_in // lanes.lanes_out
    steps = taps // parallel
    width = lanes.lanes_out
    dots = _dots(node.weight_type, x.qint, node.output.qint, lanes, terms=parallel, count=width, steps=steps)
    weights = rom(steps * channels // width, parallel * node.weight_type.bits)
    return total((control(), dots, weights * width))


def _narrow_dots(
    node: MatVec | GroupedMatVec, act: QInt, stored: QInt, *, terms: int, count: int, steps: int
) -> Resources:
    """``count`` dot products by counting bits; with signs for weights one sum of all inputs, taken from each."""
    bits = node.output.qint.bits
    if counts_bits(stored, act):
        dot = plane_dot(terms, stored.bits, act.bits)
    else:
        dot = chosen_sum(terms, act.bits)
    less = logic(bits) if node.signs else Resources()
    lane = total((dot, less, accumulator(bits) if steps > 1 else Resources()))
    return lane * count + (dot if node.signs else Resources())


def _dots(weight: QInt, act: QInt, acc: QInt, lanes: Parallelism, *, terms: int, count: int, steps: int) -> Resources:
    """``count`` dot products: multipliers as ``lanes`` say, adder trees and, over several steps, accumulators."""
    packed = products_per_dsp(lanes, weight, act)
    if packed > 1:
        tree = adder_tree(terms, weight.bits + act.bits)
        products = packed_multiplier(weight, act, packed) * (terms * ceil(count / packed)) + tree * count
    else:
        products = dot_product(terms, weight.bits, act.bits, dsp=bool(packed)) * count
    return products + (accumulator(acc.bits) if steps > 1 else Resources()) * count


@unit_cost.register
def _(node: Pool, x: Value, lanes: Parallelism) -> Resources:
    """A tree over the taps that come at once and a register for the rest; a maximum is a comparison and a choice."""
    parallel = lanes.lanes_in // lanes.lanes_out
    bits = node.output.qint.bits
    joins = parallel if parallel < node.taps else parallel - 1
    if node.kind == "max":
        tree = (comparator(bits) + logic(bits)) * joins
    else:
        tree = adder_tree(parallel, x.qint.bits) + logic(bits if parallel < node.taps else 0)
    return total((logic(STREAM_LUT), tree * lanes.lanes_out))


@unit_cost.register
def _(node: GlobalSum, x: Value, lanes: Parallelism) -> Resources:
    """An adder a lane and the running sums in a shift register."""
    bits = node.output.qint.bits * lanes.lanes_in
    return logic(STREAM_LUT + bits + bits * ceil(x.shape[2] // lanes.lanes_in / SRL_DEPTH))


@unit_cost.register
def _(node: Threshold, x: Value, lanes: Parallelism) -> Resources:
    """All comparisons at once and a count of their results; thresholds a channel come from a memory."""
    channels, levels = node.thresholds.shape
    turns = x.shape[2] // lanes.lanes_in if channels > 1 else 1
    compare = comparator(x.qint.bits) * levels + adder_tree(levels, 1)
    return total((logic(STREAM_LUT), (compare + rom(turns, levels * x.qint.bits)) * lanes.lanes_in))


@unit_cost.register
def _(node: MulShift, x: Value, lanes: Parallelism) -> Resources:
    """A multiplier, two additions (offset, rounding) and a clip; factors a channel come from a memory."""
    factor = QInt.holding(int(node.mul.min()), int(node.mul.max()))
    offsets = [offset for _, offset in node.lines]
    add_bits = QInt.holding(min(offsets), max(offsets)).bits
    mul_bits = factor.bits
    turns = x.shape[2] // lanes.lanes_in if len(node.lines) > 1 else 1
    trivial = bool((node.mul == 1).all())
    dsp = products_per_dsp(lanes, factor, x.qint) > 0
    product = Resources() if trivial else multiplier(mul_bits, x.qint.bits, dsp=dsp)
    wide = max(x.qint.bits + (0 if trivial else mul_bits), add_bits)
    rest = requantizer(wide, node.output.qint.bits)
    return total((logic(STREAM_LUT), (product + rest + rom(turns, mul_bits + add_bits)) * lanes.lanes_in))


@unit_cost.register
def _(node: Add, x: Value, lanes: Parallelism, y: Value | None = None) -> Resources:
    """One adder a lane, and the products of both operands: additions of one factor, else multipliers and a memory."""
    turns, widest = x.shape[2] // lanes.lanes_in, widest_factor(node)
    products = 0 if widest is None else products_per_dsp(lanes, widest, x.qint)
    parts = [logic(node.output.qint.bits)]
    for scaling, operand in zip(scalings(node), (x.qint, (y or x).qint), strict=True):
        if scaling.per_channel:
            dsp = scaling.on_dsp(operand, products)
            parts += [multiplier(scaling.type.bits, operand.bits, dsp=dsp), rom(turns, scaling.type.bits)]
        else:
            parts.append(scaled_copies(signed_digits(scaling.factors), operand.bits))
    return total((logic(STREAM_LUT), total(parts) * lanes.lanes_in))


@unit_cost.register
def _(node: ArgMax, x: Value, lanes: Parallelism) -> Resources:
    lane = comparator(x.qint.bits) + logic(x.qint.bits + node.output.qint.bits)
    return total((logic(STREAM_LUT), lane * lanes.lanes_in))


@unit_cost.register
def _(node: Concat, x: Value, lanes: Parallelism, *others: Value) -> Resources:
    """The choice of an input."""
    return logic(STREAM_LUT + _choice(len(node.channels)) * lanes.lanes_out * node.output.qint.bits)


@unit_cost.register
def _(node: Slice, x: Value, lanes: Parallelism) -> Resources:
    return logic(STREAM_LUT)


@unit_cost.register(Upsample)
@unit_cost.register(DepthToSpace)
def _(node: Node, x: Value, lanes: Parallelism) -> Resources:
    """Two rows, one written while the other is read, and the choice of channels in wider words."""
    bits = x.qint.bits
    choice = _choice(lanes.lanes_in // lanes.lanes_out) * lanes.lanes_out * bits
    return total((control(), memory(2 * row_words(x, lanes.lanes_in), lanes.lanes_in * bits), logic(choice)))


def _choice(count: int) -> int:
    """LUTs a bit that choose one of ``count``: a LUT6 selects one of four."""
    return ceil((count - 1) / 3)


@unit_cost.register
def _(node: Fork, x: Value, lanes: Parallelism) -> Resources:
    return logic(STREAM_LUT // 2)


@unit_cost.register
def _(node: WidthConvert, x: Value, lanes: Parallelism) -> Resources:
    """A shift register of the wider word and the choice of its next state."""
    bits = max(lanes.lanes_in, lanes.lanes_out) * x.qint.bits
    return total((logic(STREAM_LUT), logic(bits)))


@unit_cost.register
def _(node: Reshape, x: Value, lanes: Parallelism) -> Resources:
    return Resources()
