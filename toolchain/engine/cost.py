"""Resources of an engine, unit by unit, from the parts that the streaming units are counted by."""

from __future__ import annotations

from functools import cache
from math import ceil

from toolchain.engine.layout import ADDRESS_BITS, COUNT_BITS, KERNEL_BITS, MEMBERS, SIZE_BITS, WORD_BITS, structs
from toolchain.engine.shape import BEAT_BITS, CURVE_CODES, LONGEST_CHAIN, Shape
from toolchain.ir.types import QInt
from toolchain.resources import Resources, total
from toolchain.units.cost_model import parts
from toolchain.units.cost_model.parts import selector
from toolchain.units.fabric import DSP_SUM, use_uram
from toolchain.units.fabric_costs import (
    AXI_BRAM18,
    AXI_FF,
    AXI_LUT,
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

FIFO_WORDS, SHORT_FIFO_WORDS = 16, 2
"""Words of a stream between two units, and of one from a bank."""

AXI_DIRECTIONS = 4
"""Burst buffers: three interfaces read, one of them writes besides."""

BYPASS_LUT = 80  # two streams past the window unit; assumption

MERGE_LUT_BITS = 6
"""Widest factor of a merge of branches that is multiplied in LUTs: most are powers of two."""


def merge_on_dsp(shape: Shape) -> bool:
    """Return whether the factors of a merge of branches multiply on DSP slices."""
    return shape.merge_bits > MERGE_LUT_BITS


def engine_cost(shape: Shape) -> Resources:
    """The whole engine without the shell around it."""
    return total((convolution_cost(shape), window_cost(shape), banks_cost(shape), fixed_cost(shape)))


def memory_cost(depth: int, width: int, *, ultra: bool = False) -> Resources:
    """A memory, and the multiplexer behind it where it is deeper than its blocks: one of them enables a write.

    yosys counts 21 LUTs at 3000 x 18 bits and 77 at 2100 x 36, as this does. UltraRAMs cascade without (AMD UG949).
    """
    found = memory(depth, width, ultra=ultra)
    if found.bram18 == 0:
        return found
    deep = min(ceil(depth / d) for d, w in parts.BRAM18_SHAPES if ceil(depth / d) * ceil(width / w) == found.bram18)
    return found + Resources(lut=ceil(selector(deep, width)) + (deep if deep > 1 else 0))


def lutram_cost(depth: int, width: int) -> Resources:
    """A memory that is bound to LUTs."""
    return Resources(lut=ceil(parts.lutram(depth, width) + selector(ceil(depth / 64), width)), ff=width)


def counters(*bits: int) -> Resources:
    """Counters that start again at a bound: an increment and a comparison each."""
    return total(logic(n + parts.comparator(n)) for n in bits)


def adders(*bits: int) -> Resources:
    """Additions of numbers of so many bits."""
    return logic(sum(bits))


def choices(*bits: int) -> Resources:
    """Choices between two numbers: two bits a LUT."""
    return Resources(lut=sum(ceil(n / 2) for n in bits))


def walk_cost(count: int, at: int) -> Resources:
    """The address of a word of a map, tile by tile (``Walk`` in words.hpp), and the loops around it."""
    return total((
        control(), counters(count, WORD_BITS, WORD_BITS), adders(at, at), choices(at, WORD_BITS, WORD_BITS, count)
    ))  # fmt: skip


def convolution_cost(shape: Shape) -> Resources:
    """The convolution unit: products and all else beside the weights, and the memory of these."""
    return products_cost(shape) + weights_cost(shape)


def weights_cost(shape: Shape) -> Resources:
    """The weights of two tiles, the word that is being filled, and the unit's control, which addresses them."""
    word = shape.inputs * shape.outputs * shape.stored_bits
    control = _convolution_control(shape.row_words.bit_length(), (2 * shape.tile_depth).bit_length())
    return total((memory_cost(2 * shape.tile_depth, word, ultra=shape.ultra_weights), Resources(ff=word), control))


def products_cost(shape: Shape) -> Resources:
    """Dot products, accumulators, the sums that wait to be sent and the input rows."""
    code, weight, terms = shape.code, shape.weight, shape.inputs
    dots = _slices(shape) + dot_product(terms, weight.bits, code.bits) * shape.extra_outputs
    held = Resources(
        lut=ceil(selector(shape.out_blocks, shape.lanes * shape.sum_bits)), ff=shape.outputs * shape.sum_bits
    )
    rows = memory_cost(shape.row_words, shape.lanes * code.bits) * shape.in_blocks
    arriving = Resources(lut=ceil(selector(shape.packed, shape.lanes * code.bits))) * shape.in_blocks
    padded = choices(terms * code.bits)
    return total((dots, accumulator(shape.sum_bits) * shape.outputs, held, rows, arriving, padded))


@cache
def _convolution_control(row: int, weight: int) -> Resources:
    """Counters and addresses of the convolution: ``row`` bits in the row buffer, ``weight`` in the weight memory."""
    return total((
        control(),
        # the tile's plan: three numbers of three kinds of tiles, and the longer of two
        choices(*(2 * COUNT_BITS,) * 4, WORD_BITS, WORD_BITS), counters(WORD_BITS, COUNT_BITS),
        # the cycle against three bounds, the row's cycles, groups, words, products; output rows and columns
        counters(COUNT_BITS, COUNT_BITS, SIZE_BITS, SIZE_BITS, WORD_BITS, WORD_BITS, WORD_BITS),
        logic(2 * parts.comparator(COUNT_BITS)),
        # weights: beats and words that come in, the word that is read, the half of either
        counters(weight, weight), adders(weight, weight, weight),
        # rows that come in, how many may, where they go
        counters(SIZE_BITS, SIZE_BITS, WORD_BITS, KERNEL_BITS, row), adders(SIZE_BITS, row), choices(SIZE_BITS, row),
        # the tap: rows, columns and their places, each of the window and of the tap; four bounds of the map
        counters(KERNEL_BITS, KERNEL_BITS, WORD_BITS), adders(*(SIZE_BITS + 1,) * 4, *(row + 2,) * 9),
        choices(*(2 * SIZE_BITS,) * 2, *(2 * row,) * 4), logic(4 * parts.comparator(SIZE_BITS + 1)),
    ))  # fmt: skip


def _slices(shape: Shape) -> Resources:
    """The main outputs: DSP slices and the sums of what comes out of their chains, or of every unpacked product."""
    code, weight, count, terms = shape.code, shape.weight, shape.products_per_dsp, shape.inputs
    if count == 0:
        return dot_product(terms, weight.bits, code.bits) * shape.main_outputs
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
    """Return the cycles, all together, that operands of ``terms`` slices in chains wait in flip-flops.

    The second slice of a chain holds its operand itself.
    """
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
        luts = dot_product(taps, shape.filter_bits, shape.act_bits)
        sums += _filter_slices(taps, shape) * shape.filter_dsp_lanes
        sums += luts * (shape.lanes - shape.filter_dsp_lanes)
    filters = lutram_cost(shape.channel_words * ceil(kernel**2 / taps), shape.lanes * shape.filter_bits)
    line, sum_width = shape.line_words.bit_length(), shape.lanes * shape.window_sum_bits
    walk = total((
        control(), counters(COUNT_BITS, SIZE_BITS, WORD_BITS, KERNEL_BITS, KERNEL_BITS, KERNEL_BITS, KERNEL_BITS),
        adders(SIZE_BITS + 1, SIZE_BITS + 1, line, WORD_BITS), logic(4 * parts.comparator(SIZE_BITS + 1)),
        choices(width),  # a code or the pad
        counters(COUNT_BITS, COUNT_BITS, WORD_BITS, COUNT_BITS), logic(sum_width / 2),  # passes on, or sums globally
        counters(WORD_BITS, KERNEL_BITS) if shape.filters else Resources(),  # filters come in
    ))  # fmt: skip
    return total(
        (
            sums,
            memory_cost(shape.line_words, width) * (kernel - 1),
            lutram_cost(shape.channel_words, kernel * (kernel - 1) * width),
            lutram_cost(shape.channel_words, sum_width),
            Resources(ff=kernel**2 * width),
            filters * (taps if shape.filters else 0),
            walk,
        )
    )


def bank_cost(shape: Shape, words: int) -> Resources:
    """The memory of a map of so many words."""
    return memory_cost(*bank_memory(shape, words), ultra=shape.ultra_banks) * shape.packed


def bank_memory(shape: Shape, words: int) -> tuple[int, int]:
    """Depth and width of each of the memories of a map of so many words."""
    return ceil(words / shape.packed), shape.lanes * shape.act_bits


def in_uram(shape: Shape) -> tuple[str, ...]:
    """The arrays of the top function that lie in UltraRAM."""
    banks = {"bank_0": shape.bank_words, "bank_1": shape.small_words, "bank_2": shape.small_words}
    found = [name for name, words in banks.items() if shape.ultra_banks and use_uram(*bank_memory(shape, words))]
    word = shape.inputs * shape.outputs * shape.stored_bits
    if shape.ultra_weights and use_uram(2 * shape.tile_depth, word):
        found += ["main", "extra"] if shape.extra_outputs else ["main"]
    return tuple(found)


def banks_cost(shape: Shape) -> Resources:
    """The three maps on the chip, the processes that read them and their streams."""
    width, packed = shape.lanes * shape.act_bits, shape.packed
    sizes = (shape.bank_words, shape.small_words, shape.small_words)
    maps = total(bank_cost(shape, words) for words in sizes)
    bits = shape.bank_words.bit_length()
    served = walk_cost(bits, bits) + Resources(lut=ceil(selector(packed, width)))
    streams = fifo(SHORT_FIFO_WORDS, packed * width) + fifo(SHORT_FIFO_WORDS, width)
    return maps + (served + streams) * len(sizes)


def fixed_cost(shape: Shape) -> Resources:
    """Return the cost that lanes and number formats alone decide: requantizers, branches, transfers, control."""
    width = shape.lanes * shape.act_bits
    scales = (_scale(shape, shape.sum_bits) + _scale(shape, shape.window_sum_bits)) * shape.lanes
    line = shape.mul_bits + shape.add_bits
    constants = memory_cost(shape.channel_words, shape.lanes * line)
    if shape.bends:  # a second line, the knees, and which of both lines a sum takes
        knee = max(shape.sum_bits, shape.window_sum_bits) + 1
        constants += memory_cost(shape.channel_words, shape.lanes * line)
        constants += memory_cost(shape.channel_words, shape.lanes * knee) + Resources(ff=2)
        constants += (logic(parts.comparator(knee)) + choices(line)) * shape.lanes
    if shape.curves:  # a table a lane, of whose word one code is chosen; the beat that is split into words
        word = CURVE_CODES * shape.act_bits
        lane = lutram_cost(shape.curve_words, word) + logic(selector(CURVE_CODES, shape.act_bits))
        split = Resources(lut=ceil(selector(BEAT_BITS // word, word)), ff=BEAT_BITS)
        constants += lane * shape.lanes + split + counters(shape.act_bits) + Resources(ff=1)
    loops = (control() + counters(COUNT_BITS, WORD_BITS, WORD_BITS, WORD_BITS, 4) + choices(COUNT_BITS, WORD_BITS)) * 2
    buffer = lutram_cost(shape.burst_words, BEAT_BITS) if shape.bursts_in_luts else Resources(bram18=AXI_BRAM18)
    axi = (Resources(lut=AXI_LUT, ff=AXI_FF) + buffer) * AXI_DIRECTIONS
    streams = fifo(FIFO_WORDS, width) * 4 + fifo(FIFO_WORDS, BEAT_BITS) * 5
    sums = fifo(4, shape.lanes * shape.sum_bits) + fifo(4, shape.lanes * shape.window_sum_bits)
    # twice: the entry of the table, and what each process keeps of it
    fields = Resources(ff=2 * sum(t.bits for struct in MEMBERS.values() for t in structs(shape)[struct].values()))
    bypass = logic(BYPASS_LUT)
    moved = _transfer_cost(shape)
    return total((scales, constants * 2, loops, _merge_cost(shape), axi, streams, sums, fields, bypass, moved))


def _merge_cost(shape: Shape) -> Resources:
    """The sum or product of two branches. Codes are unsigned: a signed factor has a bit more."""
    code, dsp = QInt(shape.act_bits + 1, True), merge_on_dsp(shape)
    own = QInt(2 * shape.act_bits + 1, True) if shape.products else code
    factors = [multiplier(QInt(shape.merge_bits, True), kind, dsp=dsp) for kind in (own, code)]
    merged = max(own.bits + shape.merge_bits, shape.merge_add_bits) + 1
    lane = total(factors) + logic(2 * merged) + rounding_cost(merged, shape.merge_shift, shape.act_bits)
    if shape.products:  # the zeros taken away, and the product or the code that is scaled
        lane += multiplier(code, code, dsp=dsp) + adders(code.bits, code.bits) + choices(own.bits)
    return lane * shape.lanes + control() + counters(COUNT_BITS)


def _transfer_cost(shape: Shape) -> Resources:
    """Addresses, and the choice between memory and banks, of the processes that read and write memory."""
    width, at = shape.lanes * shape.act_bits, ADDRESS_BITS + shape.packed.bit_length() - 1
    place = Resources(lut=ceil(selector(shape.packed, width)))
    weights = total((
        control(), counters(*(COUNT_BITS,) * 4, WORD_BITS), adders(*(ADDRESS_BITS,) * 3),
        choices(*(COUNT_BITS,) * 2, ADDRESS_BITS, *(WORD_BITS,) * 3),
    ))  # fmt: skip
    source = total((
        control(), counters(COUNT_BITS, COUNT_BITS, WORD_BITS), adders(ADDRESS_BITS),
        Resources(lut=ceil(selector(4, BEAT_BITS))),
    ))  # fmt: skip
    if shape.repeats:
        again = counters(COUNT_BITS, SIZE_BITS, KERNEL_BITS, KERNEL_BITS) + adders(COUNT_BITS)
        source += again + choices(*(COUNT_BITS,) * 4) + Resources(ff=2 * COUNT_BITS)
    residual = walk_cost(COUNT_BITS, at) + adders(ADDRESS_BITS) + place + Resources(lut=ceil(selector(4, width)))
    if shape.products:  # the words of a map of one position, kept
        residual += lutram_cost(shape.channel_words, width) + counters(WORD_BITS) + choices(width)
    result = walk_cost(COUNT_BITS, at) + adders(ADDRESS_BITS) + place + Resources(ff=BEAT_BITS)
    return total((weights, source, residual, result))


def _scale(shape: Shape, sum_bits: int) -> Resources:
    """A lane of a requantizer: the slice of a product adds the offset too, several slices leave it to LUTs.

    Assumption, as for the chains: HLS takes `sum * factor + offset` into one slice where it fits.
    """
    wide = max(sum_bits + shape.mul_bits, shape.add_bits) + 1
    product = multiplier(QInt(shape.mul_bits, True), QInt(sum_bits, True))
    inside = product.dsp == 1 and wide <= DSP_SUM
    raised = logic(max(sum_bits, shape.add_bits - shape.mul_shift) + 1 if shape.mul_shift else 0)
    chosen = logic(selector(shape.digits + 1, shape.act_bits))  # the code or a digit of a sum without a quantizer
    return product + raised + logic(0 if inside else wide) + rounding_cost(wide, shape.shift, shape.act_bits) + chosen


def rounding_cost(bits: int, shift: int, out_bits: int) -> Resources:
    """A number of ``bits`` bits without its lowest ``shift``: six of them a LUT tell a tie, two comparisons clip."""
    kept = max(bits - shift, out_bits)
    return logic(ceil(shift / 6) + 1 + 2 * parts.comparator(kept) + out_bits)
