"""Resources of an engine, unit by unit, from the parts that the streaming units are counted by."""

from __future__ import annotations

from math import ceil

from toolchain.dse.cost_model.parts import selector
from toolchain.dse.fabric_costs import (
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
    requantizer,
)
from toolchain.dse.resources import Resources, total
from toolchain.engine.shape import BEAT_BITS, FIELDS, Shape

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
    code, weight, count = shape.code, shape.weight, shape.products_per_dsp
    terms, products = shape.inputs, weight.bits + code.bits
    if count > 1:
        slices = packed_multiplier(weight, code, count) * (terms * shape.main_outputs // count)
        dots = slices + adder_tree(terms, products) * shape.main_outputs
    else:
        dots = dot_product(terms, weight.bits, code.bits, dsp=count == 1) * shape.main_outputs
    dots += dot_product(terms, weight.bits, code.bits, dsp=False) * shape.extra_outputs
    held = Resources(
        lut=ceil(selector(shape.out_blocks, shape.lanes * shape.sum_bits)), ff=shape.outputs * shape.sum_bits
    )
    word = shape.inputs * shape.outputs * weight.bits
    weights = memory(2 * shape.tile_depth, word) + Resources(ff=word)  # and the word that is being filled
    rows = memory(shape.row_words, shape.lanes * code.bits) * shape.in_blocks
    return total((dots, accumulator(shape.sum_bits) * shape.outputs, held, weights, rows))


def window_cost(shape: Shape) -> Resources:
    """Taps of a word of channels, the line buffer, the columns of every channel and their filters."""
    width, taps, kernel = shape.lanes * shape.act_bits, min(shape.taps, shape.kernel**2), shape.kernel
    lane = adder_tree(taps, shape.act_bits) if not shape.filters else Resources()
    if shape.pools:
        lane += (comparator(shape.act_bits) + logic(shape.act_bits)) * taps
    choose = logic(selector(ceil(kernel**2 / taps), taps * shape.act_bits)) if taps < kernel**2 else Resources()
    sums = (lane + choose + accumulator(shape.sum_bits)) * shape.lanes
    if shape.filters:
        slices, luts = (dot_product(taps, shape.filter_bits, shape.act_bits, dsp=dsp) for dsp in (True, False))
        sums += slices * shape.filter_dsp_lanes + luts * (shape.lanes - shape.filter_dsp_lanes)
    filters = memory(shape.channel_words, shape.lanes * shape.filter_bits) * (kernel**2 if shape.filters else 0)
    return total(
        (
            sums,
            memory(shape.line_words, width) * (kernel - 1),
            memory(shape.channel_words, kernel * (kernel - 1) * width),
            memory(shape.channel_words, shape.lanes * shape.sum_bits),
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
    wide = max(shape.sum_bits + shape.mul_bits, shape.add_bits)
    product = multiplier(shape.mul_bits, shape.sum_bits)
    scale = (product + requantizer(wide, shape.act_bits)) * shape.lanes
    constants = memory(shape.channel_words, shape.lanes * (shape.mul_bits + shape.add_bits))
    factor = multiplier(shape.merge_bits, shape.act_bits, dsp=shape.merge_bits > MERGE_LUT_BITS) * 2
    merged = shape.act_bits + shape.merge_bits + 1
    sum_of_branches = (factor + requantizer(merged, shape.act_bits)) * shape.lanes
    axi = Resources(lut=AXI_LUT, ff=AXI_FF, bram18=AXI_BRAM18) * 2
    streams = fifo(FIFO_WORDS, shape.lanes * shape.act_bits) * 5 + fifo(FIFO_WORDS, BEAT_BITS) * 4
    sums = fifo(4, shape.lanes * shape.sum_bits) * 2
    walkers = (control() + logic(ADDRESS_LUT) + Resources(dsp=ADDRESS_DSP)) * WALKERS
    fields = Resources(ff=32 * len(FIELDS))
    bypass = logic(2 * STREAM_LUT)
    return total(((scale + constants) * 2, sum_of_branches, axi, streams, sums, walkers, fields, bypass))
