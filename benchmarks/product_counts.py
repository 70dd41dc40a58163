"""The parts that a matrix-vector unit's LUTs consist of in SystemVerilog.

The cost model does not know weights and charges what Vivado placed of published units. Here the parts are those that
yosys builds: it drops a lane whose weights are all zero, builds equal columns of bits once, makes a table of a product
whose weight is one of a few words, and additions of one whose weight is a constant.
"""

from __future__ import annotations

from math import ceil, log2

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.types import Array
from toolchain.units.cost_model import parts
from toolchain.units.fabric import counts_bits, product_type, products_per_dsp, stored_weight, use_lutram
from toolchain.units.matvec import GroupSteps, group_steps
from toolchain.units.order import parallelism

CONTROL = 100.0  # scale of the constant column, near the other columns, as in the published fit
INPUTS = 6  # inputs of a LUT


def product_parts(node: MatVec | GroupedMatVec, graph: Graph) -> tuple[str, dict[str, float]]:
    """The folding in words, and LUTs by part, those of the unit's FIFOs not among them."""
    lanes, act = parallelism(node), graph.value(node.inputs[0]).qint
    steps = group_steps(node, lanes)
    folding = f"{node.weight_type} x {act}, {products_per_dsp(lanes, node.weight_type, act)} a slice, {steps}"
    return folding, _parts(node, graph, steps)


def _parts(node: MatVec | GroupedMatVec, graph: Graph, steps: GroupSteps) -> dict[str, float]:
    act = graph.value(node.inputs[0]).qint
    products = products_per_dsp(parallelism(node), node.weight_type, act)
    stored, words, terms = stored_weight(node, products), _words(node, steps), steps.simd
    lanes = steps.pe * steps.together
    found = {"control": CONTROL}
    if len(words) > 1 and use_lutram(len(words), terms * stored.bits):
        found["rom"] = _columns(words > 0 if stored != node.weight_type else words, stored.bits) * ceil(len(words) / 64)
    if steps.output_blocks > 1 and steps.input_blocks > 1 and use_lutram(steps.input_blocks, terms * act.bits):
        found["vector"] = parts.lutram(steps.input_blocks, terms * act.bits)
    if steps.input_blocks > 1:
        found["accumulator"] = node.output.qint.bits * lanes
    if products > 1:
        found["sum"] = parts.adder_tree(terms, product_type(node.weight_type, act).bits) * lanes
        found["borrow"] = (products - 1) * terms * ceil(lanes / products)
    elif products:
        found["sum"] = parts.adder_tree(terms, node.weight_type.bits + act.bits) * lanes
    elif counts_bits(stored, act):
        found["narrow"] = parts.plane_dot(terms, stored.bits, act.bits) * lanes
    elif node.signs:
        found["narrow"] = parts.adder_tree(terms, act.bits) * lanes
    else:
        found |= _lut_products(words, terms, node.weight_type.bits, act.bits)
    return found


def _words(node: MatVec | GroupedMatVec, steps: GroupSteps) -> Array:
    """Weights (words, lanes x SIMD) of the memories, in the plain order of inputs: the stream's changes little."""
    shape = (steps.rounds, steps.together, steps.output_blocks, steps.pe, steps.input_blocks, steps.simd)
    return node.weight.reshape(shape).transpose(0, 2, 4, 1, 3, 5).reshape(-1, steps.together * steps.pe * steps.simd)


def _columns(words: Array, bits: int) -> int:
    """Unlike columns of bits that are no constant."""
    numbers = words.astype(np.int64)
    columns = {column.tobytes() for bit in range(bits) for column in (numbers >> bit & 1).T.astype(bool)}
    return sum(0 < np.frombuffer(column, dtype=bool).sum() < len(words) for column in columns)


def _lut_products(words: Array, terms: int, weight: int, act: int) -> dict[str, float]:
    """Products and trees of the terms that have any weight; of a single word constants."""
    lanes = words.reshape(len(words), -1, terms)
    if len(words) == 1:
        digits = (sum(parts.signed_digits(int(value)) for value in lane) for lane in lanes[0])
        return {"tree": sum(parts.constant_dot(count, act) for count in digits)}
    alive = [int(count) for count in lanes.any(axis=0).sum(axis=1)]
    product = parts.multiplier(weight, act)
    if act + ceil(log2(len(words))) <= INPUTS:
        product = min(product, weight + act)
    return {
        "product": product * sum(alive),
        "tree": sum(parts.adder_tree(count, parts.product_bits(weight, act)) for count in alive),
    }
