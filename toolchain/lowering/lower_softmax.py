"""A softmax of integers with one scale; their offset changes nothing."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.ops.model import RealSoftmax
from toolchain.ir.ops.norm import FRACTION
from toolchain.ir.ops.softmax import Softmax, least_fraction
from toolchain.ir.types import Array
from toolchain.lowering.scaled import Scaled, Term
from toolchain.lowering.state import Lowering, even, lower_node, single, where

MOST_BITS = 12
"""The widest input, in bits, for which a table of exponentials is made."""


@lower_node.register
def _(node: RealSoftmax, state: Lowering, x: Scaled) -> Scaled:
    (term,) = even(state, node, single(state, node, x), rising=True).terms
    kind, channels = term.value.qint, node.output.shape[2] // node.heads
    if kind.bits > MOST_BITS:
        raise UserError(
            f"a Softmax of integers of {kind.bits} bits",
            where=where(node),
            hint=f"quantize what it reads, with one scale and at most {MOST_BITS} bits",
        )
    fraction = least_fraction(channels)
    table = exponentials(term.scale[0], kind.max - kind.min + 1, fraction)
    out = state.emit(Softmax, node, (term,), node.output.shape, table=table, fraction=fraction, heads=node.heads)
    return Scaled((Term(out.value, (Fraction(1, 1 << FRACTION),), out.low, out.high),), (Fraction(0),))


def exponentials(unit: Fraction, count: int, fraction: int) -> Array:
    """Return exp(-d * unit) for d < ``count`` in units of 2**-fraction, rounded to the nearest."""
    with localcontext() as context:
        context.prec = 60
        scale = Decimal(unit.numerator) / Decimal(unit.denominator)
        exact = [(-d * scale).exp() * (1 << fraction) for d in range(count)]
        return np.array([int(e.to_integral_value()) for e in exact], dtype=np.int64)
