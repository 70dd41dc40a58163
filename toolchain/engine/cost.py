"""Resources of an engine, unit by unit, from the parts that the streaming units are counted by."""

from __future__ import annotations

from math import ceil

from toolchain.engine.shape import BEAT_BITS, FIELDS, LONGEST_CHAIN, Shape
from toolchain.resources import Resources, total
from toolchain.units.cost_model import parts
from toolchain.units.cost_model.parts import selector
from toolchain.units.fabric import DSP_SUM
from toolchain.units.fabric_costs import (
    AXI_BRAM18,
    AXI_FF,
    AXI_LUT,
    STREAM_LUT,
    accumulator,
    adder_tree,
    comparator,
    control,
    dot_product,
    fifo,
    logic,
    memory,
    multiplier,
    packed_multiplier,
)

FIFO_WORDS = 32
"""Words of a stream between two units."""

ADDRESS_LUT, ADDRESS_DSP = 400, 2
"""Counters and address products of a unit that walks a map; assumption."""

MERGE_LUT_BITS = 6
"""Widest factor of a sum of branches that is multiplied in LUTs: most are powers of two."""

WALKERS = 5
"""Units that walk a map: the convolution, the window unit and the three that read and write maps."""


def engine_cost(shape: Shape) -> Resources:
    """The whole engine without the shell around it."""
    return total((convolution_cost(shape), window_cost(shape), banks_cost(shape), fixed_cost(shape)))


def convolution_cost(shape: Shape) -> Resources:
    """Dot products, accumulators, the sums that wait to be sent, the weights of two tiles and the input rows."""
    code, weight, terms = shape.code, shape.weight, shape.inputs
    dots = _slices(shape) + dot_product(terms, weight.bits, code.bits, dsp=False) * shape.extra_outputs
    held = Resources(
        lut=ceil(selector(shape.out_blocks, shape.lanes * shape.sum_bits)), ff=shape.outputs * shape.sum_bits
    )
    word = shape.inputs * shape.outputs * shape.stored_bits
    weights = memory(2 * shape.tile_depth, word) + Resources(ff=word)  # and the word that is being filled
    rows = memory(shape.row_words, shape.lanes * code.bits) * shape.in_blocks
    return total((dots, accumulator(shape.sum_bits) * shape.outputs, held, weights, rows))


def _slices(shape: Shape) -> Resources:
    """The main outputs: DSP slices and the sums of what comes out of their chains, or of every unpacked product."""
    code, weight, count, terms = shape.code, shape.weight, shape.products_per_dsp, shape.inputs
    if count == 0:
        return dot_product(terms, weight.bits, code.bits, dsp=False) * shape.main_outputs
    slices = terms * shape.main_outputs // count
    if shape.chain is not None:
        waits = _waiting(terms, shape.chain.chain) * shape.stored_bits * shape.main_outputs
        sums = adder_tree(ceil(terms / shape.chain.chain), shape.chain.spacing) * shape.main_outputs
        return Resources(dsp=slices, ff=waits) + sums
    return (
        packed_multiplier(weight, code, count) * slices
        + adder_tree(terms, weight.bits + code.bits) * shape.main_outputs
    )


def _waiting(terms: int, chain: int) -> int:
    """Cycles that the operands of ``terms`` slices in chains wait in flip-flops, all together: a slice holds the second
    one's itself."""
    full, rest = divmod(terms, chain)
    return full * sum(range(chain - 1)) + sum(range(rest - 1))


def _filter_slices(taps: int, shape: Shape) -> Resources:
    """A lane of the window unit on DSP slices: products that add up in chains."""
    bits = shape.filter_bits + shape.act_bits
    chains = ceil(taps / LONGEST_CHAIN)
    sums = adder_tree(chains, bits + (LONGEST_CHAIN - 1).bit_length())
    return Resources(dsp=taps, ff=_waiting(taps, LONGEST_CHAIN) * bits) + sums


def window_cost(shape: Shape) -> Resources:
    """Taps of a word of channels, the line buffer, the columns of every channel and their filters."""
    width, taps, kernel = shape.lanes * shape.act_bits, min(shape.taps, shape.kernel**2), shape.kernel
    lane = adder_tree(taps, shape.act_bits) if not shape.filters else Resources()
    if shape.pools:
        lane += (comparator(shape.act_bits) + logic(shape.act_bits)) * taps
    choose = logic(selector(ceil(kernel**2 / taps), taps * shape.act_bits)) if taps < kernel**2 else Resources()
    sums = (lane + choose + accumulator(shape.window_sum_bits)) * shape.lanes
    if shape.filters:
        luts = dot_product(taps, shape.filter_bits, shape.act_bits, dsp=False)
        sums += _filter_slices(taps, shape) * shape.filter_dsp_lanes
        sums += luts * (shape.lanes - shape.filter_dsp_lanes)
    filters = memory(shape.channel_words, shape.lanes * shape.filter_bits) * (kernel**2 if shape.filters else 0)
    return total(
        (
            sums,
            memory(shape.line_words, width) * (kernel - 1),
            memory(shape.channel_words, kernel * (kernel - 1) * width),
            memory(shape.channel_words, shape.lanes * shape.window_sum_bits),
            Resources(ff=kernel**2 * width),
            filters,
        )
    )


def banks_cost(shape: Shape) -> Resources:
    """The three maps on the chip."""
    width, rows = shape.lanes * shape.act_bits, ceil(shape.bank_words / shape.packed)
    return (memory(rows, width) + memory(ceil(shape.small_words / shape.packed), width) * 2) * shape.packed


def fixed_cost(shape: Shape) -> Resources:
    """What only the lanes and the number formats decide: requantizers, the sum of branches, transfers and control."""
    scales = (_scale(shape, shape.sum_bits) + _scale(shape, shape.window_sum_bits)) * shape.lanes
    constants = memory(shape.channel_words, shape.lanes * (shape.mul_bits + shape.add_bits))
    factor = multiplier(shape.merge_bits, shape.act_bits, dsp=shape.merge_bits > MERGE_LUT_BITS) * 2
    merged = shape.act_bits + shape.merge_bits + 1
    sum_of_branches = (
        factor + logic(2 * merged) + rounding_cost(merged, shape.merge_shift, shape.act_bits)
    ) * shape.lanes
    axi = Resources(lut=AXI_LUT, ff=AXI_FF, bram18=AXI_BRAM18) * 2
    streams = fifo(FIFO_WORDS, shape.lanes * shape.act_bits) * 5 + fifo(FIFO_WORDS, BEAT_BITS) * 4
    sums = fifo(4, shape.lanes * shape.sum_bits) + fifo(4, shape.lanes * shape.window_sum_bits)
    walkers = (control() + logic(ADDRESS_LUT) + Resources(dsp=ADDRESS_DSP)) * WALKERS
    fields = Resources(ff=32 * len(FIELDS))
    bypass = logic(2 * STREAM_LUT)
    return total((scales, constants * 2, sum_of_branches, axi, streams, sums, walkers, fields, bypass))


def _scale(shape: Shape, sum_bits: int) -> Resources:
    """A lane of a requantizer: the slice of a product adds the offset too, several slices leave it to LUTs.

    Assumption, as for the chains: HLS takes `sum * factor + offset` into one slice where it fits.
    """
    wide = max(sum_bits + shape.mul_bits, shape.add_bits) + 1
    product = multiplier(shape.mul_bits, sum_bits)
    inside = product.dsp == 1 and wide <= DSP_SUM
    chosen = logic(selector(shape.digits + 1, shape.act_bits))  # the code or a digit of a sum without a quantizer
    return product + logic(0 if inside else wide) + rounding_cost(wide, shape.shift, shape.act_bits) + chosen


def rounding_cost(bits: int, shift: int, out_bits: int) -> Resources:
    """A number of ``bits`` bits without its lowest ``shift``: six of them a LUT tell a tie, two comparisons clip."""
    kept = max(bits - shift, out_bits)
    return logic(ceil(shift / 6) + 1 + 2 * parts.comparator(kept) + out_bits)
