"""Products of two activations: of their integers, with the product of their scales."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from toolchain.ir.ops.matmul import MatMul
from toolchain.ir.ops.model import RealMatMul, RealMul
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.requantizers import MulShift
from toolchain.lowering.scaled import Scaled, Term, zipped
from toolchain.lowering.state import LARGEST, Lowering, TooWide, even, lower_node, multiples, single, where


@lower_node.register
def _(node: RealMul, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    a, b = (_without_offset(state, node, part) for part in (x, y))
    facts = {"factor": b.value.qint, "once": a.value.shape != b.value.shape}
    out = state.emit(Multiply, node, (a, b), node.output.shape, **facts)
    return Scaled((Term(out.value, zipped(lambda s, t: s * t, a.scale, b.scale), out.low, out.high),), (Fraction(0),))


@lower_node.register
def _(node: RealMatMul, state: Lowering, x: Scaled, y: Scaled) -> Scaled:
    a, b = (_without_offset(state, node, even(state, node, single(state, node, part))) for part in (x, y))
    facts = {"factor": b.value.qint, "heads": node.heads, "columns": node.columns}
    out = state.emit(MatMul, node, (a, b), node.output.shape, **facts)
    return Scaled((Term(out.value, zipped(lambda s, t: s * t, a.scale, b.scale), out.low, out.high),), (Fraction(0),))


def _without_offset(state: Lowering, node: RealMul | RealMatMul, x: Scaled) -> Term:
    """``x`` as one integer that is 0 where the value is: an offset is brought to a unit with its channel's scale."""
    x = single(state, node, x)
    (term,) = x.terms
    if not any(x.offset):
        return term
    found = [multiples(pair) for pair in zipped(lambda s, o: (s, o), term.scale, x.offset)]
    units = tuple(unit for unit, _ in found)
    mul, add = ([numbers[i] for _, numbers in found] for i in (0, 1))
    reach = max(map(abs, mul)) * max(-term.low, term.high) + max(map(abs, add))
    if reach >= LARGEST:
        raise TooWide(
            "the scale and the offset of a factor share no unit of 62 bits",
            where=where(node),
            hint="quantize what it multiplies",
        )
    numbers = {key: np.array(v, dtype=np.int64) for key, v in (("mul", mul), ("add", add))}
    facts = {"shift": 0, "low": -reach, "high": reach, "suffix": "_factor"}
    out = state.emit(MulShift, node, (term,), term.value.shape, **numbers, **facts)
    return Term(out.value, units, out.low, out.high)
