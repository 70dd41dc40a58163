"""The choice between LUT products, one product a DSP slice and several: what is legal and what it takes."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import Any

import numpy as np
import pytest

from tests.graphs import Builder
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Parallelism, QInt
from toolchain.resources import Resources
from toolchain.units import fabric_costs
from toolchain.units.cost_model import parts
from toolchain.units.fabric import packing
from toolchain.units.table import options, unit_cost, unit_of


def matvec(weight_bits: int, act_bits: int, outputs: int = 24) -> tuple[MatVec, Builder]:
    b = Builder((1, 1, 16), act_bits)
    b.matvec(b.input, outputs, weight_bits)
    node = b.nodes[0]
    assert isinstance(node, MatVec)
    return node, b


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(8, 8), (4, 8), (4, 4), (3, 3)])
def test_packed_products_divide_the_outputs(weight_bits: int, act_bits: int) -> None:
    """Every packing of the operands appears with each PE it divides and with no other."""
    node, b = matvec(weight_bits, act_bits, outputs=60)
    found = [p for p in options(node, b.input, None) if not p.constant]
    counts = packing(QInt(weight_bits, True), QInt(act_bits, False))

    assert {p.products_per_dsp for p in found} == {0, 1, *counts}
    for p in found:
        assert p.products_per_dsp is not None
        assert p.products_per_dsp < 2 or p.lanes_out % p.products_per_dsp == 0
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(("weight_bits", "act_bits"), [(2, 8), (8, 1), (2, 2)])
def test_narrow_factors_stay_in_luts(weight_bits: int, act_bits: int) -> None:
    node, b = matvec(weight_bits, act_bits, outputs=60)

    assert {p.products_per_dsp for p in options(node, b.input, None) if not p.constant} == {0}


def test_a_packed_product_takes_its_share_of_a_slice() -> None:
    """DSP = PE * SIMD / n for every choice; the more a slice multiplies, the more LUTs take the products apart."""
    node, b = matvec(4, 4)
    costs = {n: unit_cost(node, b.input, Parallelism(8, 24, n)) for n in (0, 1, 2, 3, 4)}

    assert costs[0].dsp == 0
    assert all(costs[n].dsp == ceil(8 * 24 / n) for n in (1, 2, 3, 4))
    luts = [costs[n].lut for n in (1, 2, 3, 4)]
    assert luts == sorted(luts)
    assert costs[4].lut < costs[0].lut
    assert costs[2].lut - costs[1].lut == 8 * 12 * (8 + 2 + 2)  # a slice: the subtraction from bit 3 to 12, one borrow


def test_weights_of_one_and_minus_one_take_one_bit() -> None:
    """Half the weight memory, and products that count bits: less than half the LUTs of 2-bit multipliers."""
    b = Builder((1, 1, 1152), 1)
    b.matvec(b.input, 64, 2)
    (dense,) = b.nodes
    assert isinstance(dense, MatVec)
    signs = replace(dense, weight=np.where(dense.weight < 0, -1, 1))
    lanes = Parallelism(36, 1, 0)
    two_bits, one_bit = unit_cost(dense, b.input, lanes), unit_cost(signs, b.input, lanes)

    assert (dense.signs, signs.signs) == (False, True)
    assert (two_bits.bram18, one_bit.bram18) == (8, 4)  # 2,048 words of 72 and 36 bits
    assert 2 * fabric_costs.plane_dot(36, 1, 1).lut < fabric_costs.dot_product(36, 2, 1).lut
    assert fabric_costs.chosen_sum(27, 8).lut < fabric_costs.dot_product(27, 2, 8).lut


@pytest.mark.parametrize(("terms", "luts"), [(1, 0), (2, 1), (3, 2), (4, 3), (6, 3)])
def test_few_bits_are_counted_by_functions_of_six_inputs(terms: int, luts: int) -> None:
    assert parts.ones(terms) == luts


def test_counting_bits_grows_with_the_bits() -> None:
    """From 6 bits on never less for more bits, and below the 7/4 LUT a bit of a chain of full adders."""
    counts = [parts.ones(n) for n in range(6, 300)]

    assert counts == sorted(counts)
    assert all(count < 1.75 * n for n, count in enumerate(counts, start=6))


def test_other_units_choose_between_luts_and_single_products() -> None:
    b = Builder((4, 4, 6), 8)
    x = b.mulshift(b.depthwise(b.window(b.input), 9, 8), 8)
    b.threshold(x)
    _, depthwise, mulshift, threshold = b.nodes
    values = [b.nodes[0].output, depthwise.output, mulshift.output]
    assert isinstance(depthwise, Depthwise)
    assert isinstance(mulshift, MulShift)

    assert {p.products_per_dsp for p in options(depthwise, values[0], Parallelism(6, 54))} == {0, 1}
    assert {p.products_per_dsp for p in options(mulshift, values[1], None)} == {0, 1}
    assert {p.products_per_dsp for p in options(threshold, values[2], None)} == {None}
    for node, x in ((depthwise, values[0]), (mulshift, values[1])):
        lut, dsp = (unit_cost(node, x, Parallelism(6, 6, n)) for n in (0, 1))
        assert lut.dsp == 0 < dsp.dsp
        assert dsp.lut < lut.lut


def test_a_factor_of_one_is_no_product() -> None:
    b = Builder((4, 4, 6), 8)
    b.mulshift(b.input)
    node = b.nodes[0]
    assert isinstance(node, MulShift)
    node.mul[:] = 1

    assert unit_of(node).operands(node, b.input) is None
    assert unit_cost(node, b.input, Parallelism(6, 6)).dsp == 0
    assert Resources().fits(unit_cost(node, b.input, Parallelism(6, 6)))


def test_factors_a_channel_of_a_sum_are_in_luts_or_on_slices() -> None:
    """The wide product of the two; one factor for all channels is additions, a factor of one nothing."""
    many = np.arange(1001, 1007)

    def costs(*multipliers: Any) -> list[Resources]:
        b = Builder((4, 4, 6), 12, signed=True)
        b.add(b.input, b.threshold(b.input, 4), multipliers)
        node, second = b.nodes[1], b.nodes[0].output
        legal = options(node, b.input, None)
        return [unit_cost(node, b.input, p, second) for p in legal if p.lanes_in == 6]

    both, narrow = costs(many, many), costs(1, many)
    assert [c.dsp for c in both] == [0, 6]
    assert both[1].lut < both[0].lut
    assert [c.dsp for c in narrow] == [0, 0]
    (plain,), (scaled,), (shifted,) = costs(1, 1), costs(1, 1001), costs(1, 1024)
    assert (plain.dsp, scaled.dsp) == (0, 0)
    assert plain.lut < scaled.lut < narrow[0].lut
    assert scaled.lut > shifted.lut


def test_an_unsigned_operand_takes_a_bit_more_of_a_slice() -> None:
    """27 x 18 bits fit where both are signed, as yosys counts 20 x 18 unsigned in two slices."""
    pairs = [(QInt(27, True), QInt(18, True)), (QInt(26, False), QInt(18, True)), (QInt(27, True), QInt(17, False))]
    assert [fabric_costs.multiplier(*pair, dsp=True).dsp for pair in pairs] == [1, 1, 1]
    pairs = [(QInt(26, True), QInt(18, False)), (QInt(27, False), QInt(18, True)), (QInt(18, False), QInt(18, False))]
    assert [fabric_costs.multiplier(*pair, dsp=True).dsp for pair in pairs] == [2, 4, 2]
