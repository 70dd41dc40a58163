"""Costs of a unit's building blocks after placement and routing: dot products, memories, FIFOs.

LUTs and flip-flops are the parts of ``cost_model.parts`` times coefficients fitted to published matrix-vector units;
where no published unit has the block, the part itself. Sources stand at the other numbers.
"""

from __future__ import annotations

from functools import cache
from math import ceil

from toolchain.ir.types import Parallelism, QInt
from toolchain.resources import LUT_PER_BRAM18, Resources, multiplier_slices, total
from toolchain.units.adder_graph import AdderGraph
from toolchain.units.cost_model import parts
from toolchain.units.cost_model.coefficients import coefficients
from toolchain.units.fabric import packing, products_per_dsp, use_dsp, use_lutram, use_uram

PLANNED_STAGE = "post-route"
STREAM_LUT = 52  # handshake and counters of a unit without state; own counts of them are 47 to 55
AXI_LUT, AXI_FF, AXI_BRAM18 = 700, 1100, 4  # one 128-bit m_axi adapter with its burst buffer; assumption
BORROW_LUT = 2  # a borrow of a packed product: its bit, and its share of the count; assumption
COUNTING = 1.25  # yosys over parts.plane_dot from 18 terms on; makes it 2 LUTs a term, as in published XNOR units
SUMS_A_STAGE = 2  # additions one behind the other in a clock cycle of 4 ns; assumption
COUNTER_LUT = 2.1  # a bit that counts, compares and returns to zero; own counts of serial windows take 1.9 to 2.3
FRAME_BITS = 16  # bits of a counter of frames
SRL_DEPTH = 32  # AMD UG574: one SRLC32E a LUT


def logic(luts: float) -> Resources:
    """Pipelined logic: one flip-flop a result bit, about as many as LUTs."""
    return Resources(lut=ceil(luts), ff=ceil(luts))


def _fitted(lut: dict[str, float], ff: dict[str, float]) -> Resources:
    """Parts by their names in the fit of the matrix-vector unit, weighed and rounded up."""
    luts, ffs = (coefficients("mvau", PLANNED_STAGE, resource) for resource in ("LUT", "FF"))
    return Resources(
        lut=ceil(sum(luts[name] * count for name, count in lut.items())),
        ff=ceil(sum(ffs[name] * count for name, count in ff.items())),
    )


def counters(*counts: int, frames: int = 2) -> Resources:
    """Counters to each of ``counts`` with their ends, and of ``frames``, those to read and those to write.

    A bit takes as many LUTs as in own counts of windows.
    """
    bits = frames * FRAME_BITS + sum(count.bit_length() for count in counts)
    return Resources(lut=ceil(COUNTER_LUT * bits), ff=bits)


def delay(depth: int, bits: int) -> Resources:
    """A word that waits ``depth`` steps: registers, or shift registers of up to 16 steps for two bits a LUT."""
    if depth <= 2:
        return Resources(ff=depth * bits)
    return Resources(lut=ceil(bits / 2) if depth <= SRL_DEPTH // 2 else bits * ceil(depth / SRL_DEPTH))


def control() -> Resources:
    """Loop counters and handshake of a looping unit."""
    return _fitted({"control": 100}, {"control": 100})


def lut_multiplier(a: int, b: int) -> int:
    """LUTs of an a x b bit multiplier alone, as an array of carry chains."""
    return ceil(parts.multiplier(a, b))


def multiplier(weight: QInt, act: QInt, *, dsp: bool | None = None) -> Resources:
    """One multiplier from LUTs or DSP slices; without a word on that, in the fabric that ``use_dsp`` binds it to.

    Slices multiply signed numbers: an unsigned operand takes a bit more of them.
    """
    if not (use_dsp(weight.bits, act.bits) if dsp is None else dsp):
        return dot_product(1, weight.bits, act.bits)
    return Resources(dsp=multiplier_slices(*(kind.bits + (not kind.signed) for kind in (weight, act))))


def dot_product(terms: int, weight_bits: int, act_bits: int) -> Resources:
    """``terms`` products in LUTs and their sum, whose carry chains they share."""
    bits = parts.product_bits(weight_bits, act_bits)
    tree = parts.adder_tree(terms, bits)
    products = {"multiplier": terms * parts.multiplier(weight_bits, act_bits), "adder_tree": tree}
    return _fitted(products, {"product": terms * bits})


def scaled_copies(digits: int, bits: int) -> Resources:
    """A product of ``bits`` bits with a constant of so many signed digits: their shifted copies on carry chains."""
    return logic(max(digits - 1, 0) * (bits + 1))


def plane_dot(terms: int, weight_bits: int, act_bits: int) -> Resources:
    """``terms`` products of narrow numbers and their sum by counting the bits that their planes share."""
    counted = ceil(COUNTING * parts.plane_dot(terms, weight_bits, act_bits))
    return Resources(lut=counted) + _fitted({}, {"product": weight_bits * act_bits * ceil(2 * terms / 3)})


def chosen_sum(terms: int, act_bits: int) -> Resources:
    """The sum of those of ``terms`` inputs that bits choose; the choice shares the LUT of the tree's first addition."""
    return Resources(lut=ceil(parts.adder_tree(terms, act_bits))) + _fitted({}, {"product": terms * act_bits})


def accumulator(bits: int) -> Resources:
    """A lane's running sum and its control."""
    return _fitted({"accumulator": bits, "lane": 10}, {"accumulator": bits, "lane": 10})


def packed_multiplier(weight: QInt, act: QInt, products: int) -> Resources:
    """One DSP slice that multiplies ``products`` weights by one activation, see ``fabric.packing``.

    One subtraction, a LUT a bit, joins the weights from the lowest one's sign on, unless the pre-adder does it; borrows
    between lanes are counted apart from their fields, about two LUTs each (``packing.hpp``).
    """
    word = packing(weight, act)[products][-1] + weight.bits + 1
    return logic(word - (weight.bits - 1) + BORROW_LUT * (products - 1)) + Resources(dsp=1)


def dots(weight: QInt, act: QInt, acc: QInt, lanes: Parallelism, *, terms: int, count: int, steps: int) -> Resources:
    """``count`` dot products: multipliers as ``lanes`` say, adder trees and, over several steps, accumulators."""
    packed = products_per_dsp(lanes, weight, act)
    if packed > 1:
        tree = adder_tree(terms, weight.bits + act.bits)
        products = packed_multiplier(weight, act, packed) * (terms * ceil(count / packed)) + tree * count
    elif packed:
        tree = adder_tree(terms, parts.product_bits(weight.bits, act.bits))
        products = (multiplier(weight, act, dsp=True) * terms + tree) * count
    else:
        products = dot_product(terms, weight.bits, act.bits) * count
    return products + (accumulator(acc.bits) if steps > 1 else Resources()) * count


def adder_tree(terms: int, bits: int) -> Resources:
    """Sum of ``terms`` numbers of ``bits`` bits by two-input adders; single bits by compressors."""
    return logic(parts.adder_tree(terms, bits))


def additions(graph: AdderGraph, act: QInt) -> Resources:
    """Carry chains of a network of constants, and the registers of what crosses its pipeline stages.

    A value that waits for more than one stage lies in shift registers, a LUT a bit.
    """
    bits = [act.bits] * graph.inputs + [s.type.bits for s in graph.sums]
    level = [0] * graph.inputs
    for s in graph.sums:
        level.append(1 + max(level[s.left], level[s.right]))
    stage = [ceil(n / SUMS_A_STAGE) for n in level]
    end = max(stage, default=0)
    last = list(stage)
    for s, at in zip(graph.sums, stage[graph.inputs :], strict=True):
        for operand in (s.left, s.right):
            last[operand] = max(last[operand], at)
    luts = sum(s.luts for s in graph.sums)
    for output in graph.outputs:
        if output.source is not None:
            last[output.source] = end
            luts += bits[output.source] * output.negative
    waits = [(b, until - at) for b, at, until in zip(bits, stage, last, strict=True)]
    luts += sum(b for b, wait in waits if wait > 1)
    return Resources(lut=luts, ff=sum(b * min(wait, 2) for b, wait in waits))


def choice(count: int) -> int:
    """LUTs a bit that choose one of ``count``: a LUT6 selects one of four."""
    return ceil((count - 1) / 3)


def comparator(bits: int) -> Resources:
    """x >= y on a carry chain, two bits a LUT."""
    return logic(coefficients("mvau", PLANNED_STAGE, "LUT")["threshold"] * parts.comparator(bits))


def constant_comparator(bits: int) -> Resources:
    """x >= a constant: a LUT6 a five bits, the last of which takes what the others say."""
    return Resources(lut=max(1, ceil((bits - 1) / 5)), ff=1)


def requantizer(bits: int, out_bits: int) -> Resources:
    """Offset, rounding and clip behind a requantizer's multiplier."""
    return logic(parts.requantizer(bits, out_bits))


def memory(depth: int, width: int, *, ultra: bool = False) -> Resources:
    """Return the cost of a memory with one write and one read port.

    Its storage is that to which ``use_lutram`` or, if ``ultra``, ``use_uram`` binds it.
    """
    if depth <= 1:
        return Resources(ff=width)
    if ultra and use_uram(depth, width):
        return Resources(ff=width, uram=parts.uram(depth, width))
    if use_lutram(depth, width):
        return Resources(lut=ceil(parts.lutram(depth, width)), ff=width)
    return Resources(ff=width, bram18=parts.bram18(depth, width))


def rom(depth: int, width: int) -> Resources:
    """A memory of constants; a single word is wiring. Block RAM registers its output itself."""
    if depth <= 1:
        return Resources()
    if use_lutram(depth, width):
        return _fitted({"weight_rom": parts.lut_rom(depth, width)}, {"operand": width})
    return Resources(bram18=parts.bram18(depth, width))


def banks(count: int, depth: int, width: int) -> Resources:
    """``count`` memories of constants that one counter addresses.

    Of ``depth`` bits there are 2**depth columns: equal ones are built once, which few words make the rule.
    """
    found = rom(depth, width) * count
    if depth <= 1 or not found.lut:
        return found
    return Resources(lut=min(found.lut, 2**depth), ff=found.ff)


def lookup_in_luts(depth: int, width: int) -> bool:
    """Return whether a table addressed by data lies in LUTs: they cost less than the block RAMs' share of a device."""
    return parts.lut_rom(depth, width) <= LUT_PER_BRAM18 * parts.bram18(depth, width)


def lookup_table(depth: int, width: int) -> Resources:
    """A table that data addresses, in the storage that ``lookup_in_luts`` says."""
    if lookup_in_luts(depth, width):
        return Resources(lut=ceil(parts.lut_rom(depth, width)), ff=width)
    return Resources(bram18=parts.bram18(depth, width))


@cache
def fifo(depth: int, width: int, *, ultra: bool = False) -> Resources:
    """A stream of ``depth`` words: two registers, shift-register LUTs, or a memory with its two pointers."""
    if depth <= 2:
        return Resources(lut=ceil(width / 2) + 4, ff=2 * width)
    if depth <= SRL_DEPTH:
        per_lut = 2 if depth <= SRL_DEPTH // 2 else 1
        return Resources(lut=ceil(width / per_lut) + 12, ff=width + 6)
    pointers = 2 * depth.bit_length()
    return total((memory(depth, width, ultra=ultra), logic(2 * pointers)))
