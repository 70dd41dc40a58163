"""Products of two activations: of their integers, with the product of their scales."""

from __future__ import annotations

from fractions import Fraction

from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.ops.model import RealMatMul, RealMul
from toolchain.ir.ops.multiply import Multiply
from toolchain.lowering.scaled import Scaled, Term, zipped
from toolchain.lowering.state import Lowering, even, lower_node, single, without_offset


@lower_node.register
def _(node: RealMul, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    a, b = (without_offset(state, node, part) for part in (x, y))
    facts = {"factor": b.value.qint, "once": a.value.shape != b.value.shape}
    out = state.emit(Multiply, node, (a, b), node.output.shape, **facts)
    return Scaled((Term(out.value, zipped(lambda s, t: s * t, a.scale, b.scale), out.low, out.high),), (Fraction(0),))


@lower_node.register
def _(node: RealMatMul, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    a, b = (without_offset(state, node, even(state, node, single(state, node, part))) for part in (x, y))
    facts = {"factor": b.value.qint, "heads": node.heads, "columns": node.columns}
    out = state.emit(MatMul, node, (a, b), node.output.shape, **facts)
    return Scaled((Term(out.value, zipped(lambda s, t: s * t, a.scale, b.scale), out.low, out.high),), (Fraction(0),))
