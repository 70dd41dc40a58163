"""The unit that multiplies two values: one is stored a frame, as the weights of a matrix-vector product."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Storage, check_unroll, impl, input_type, own_slice, positions
from toolchain.units.fabric import product_type
from toolchain.units.fabric_costs import control, dots, memory
from toolchain.units.lanes import divisors, single_products
from toolchain.units.limits import MAX_UNROLL
from toolchain.units.order import parallelism, require_order
from toolchain.units.schedule import NEVER, Phase, Schedule, ends, first
from toolchain.units.unit import Unit, Units, told_products


class MatMulUnit(Unit[MatMul]):
    """The unit in ``matmul.hpp``."""

    stores = 1

    def options(self, node: MatMul, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """SIMD and PE of a head; a stored word of columns has outputs of one fold."""
        pairs = [(i, o) for i in divisors(node.inputs_of(x.shape)) for o in divisors(node.outputs_each)]
        return [
            Parallelism(simd, pe, n)
            for simd, pe in pairs
            if simd * pe <= MAX_UNROLL and not (node.columns and pe % simd)
            for n in single_products(self.operands(node, x))
        ]

    def schedule(self, node: MatMul, x: Value, lanes: Parallelism) -> Schedule:
        """The second operand, then a phase a head and position as in a matrix-vector unit."""
        inputs, outputs = node.inputs_of(x.shape) // lanes.lanes_in, node.outputs_each // lanes.lanes_out
        stored = node.heads * node.inputs_of(x.shape) * node.outputs_each // lanes.lanes_in
        turns, cycles = x.shape[0] * x.shape[1] * node.heads, inputs * outputs
        runs = Phase(cycles, (first(inputs), NEVER), ends(cycles, inputs), turns)
        return Schedule((Phase(stored, (NEVER, first(stored)), NEVER), runs))

    def cost(self, node: MatMul, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Dot products, a memory a stored lane, and the inputs kept for other outputs."""
        simd, pe = lanes.lanes_in, lanes.lanes_out
        blocks, turns = node.inputs_of(x.shape) // simd, node.outputs_each // pe
        found = dots(node.factor, x.qint, node.output.qint, lanes, terms=simd, count=pe, steps=blocks)
        stored = memory(node.heads * blocks * turns, node.factor.bits) * (simd * pe)
        return total((control(), found, stored, memory(blocks, simd * x.qint.bits) if turns > 1 else Resources()))

    def operands(self, node: MatMul, x: Value) -> tuple[QInt, QInt]:
        """Return the types of both inputs."""
        return node.factor, x.qint

    def facts(self, node: MatMul, lanes: Parallelism) -> dict[str, int]:
        """Return PE, SIMD and the products a DSP slice."""
        return {"PE": lanes.lanes_out, "SIMD": lanes.lanes_in} | told_products(lanes)

    def template(self, node: MatMul, graph: Graph) -> Call:
        """Call ``matmul`` with its sizes and types."""
        require_order(graph, node, np.arange)
        x, lanes = graph.value(node.inputs[0]), parallelism(node)
        kinds, simd, pe = (input_type(graph, node), input_type(graph, node, 1)), lanes.lanes_in, lanes.lanes_out
        check_unroll(node, simd * pe)
        inputs, outputs = node.inputs_of(x.shape), node.outputs_each
        constants: dict[str, int | bool] = {"positions": positions(graph, node), "heads": node.heads}
        constants |= {"inputs": inputs, "outputs": outputs, "simd": simd, "pe": pe, "columns": node.columns}
        constants |= {"products_per_dsp": int(own_slice(node, node.factor, kinds[0]))}
        types = {"in_t": kinds[0], "weight_t": kinds[1], "out_t": node.output.qint}
        types |= {"product_t": product_type(kinds[1], kinds[0])}
        depth = node.heads * (inputs // simd) * (outputs // pe)
        stored = Buffer("stored", "MatmulStored", Storage(impl(depth, kinds[1].bits), partition=(2, 3)))
        kept = Storage(impl(inputs // simd, simd * kinds[0].bits), reshape=(2,))
        return Call("matmul", "matmul", constants, types, buffers=(stored, Buffer("vector", "MatvecVector", kept)))


UNITS: Units = {MatMul: MatMulUnit()}
