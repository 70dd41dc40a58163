"""Norms of integers with one scale, which only epsilon depends on; an offset matters where no mean is subtracted."""

from __future__ import annotations

from fractions import Fraction

from toolchain.errors import UserError
from toolchain.ir.ops.model import RealNorm
from toolchain.ir.ops.norm import (
    FRACTION,
    ROOT_FRACTION,
    Norm,
    deviation,
    freedom,
    largest_normalized,
    least_reciprocal,
)
from toolchain.ir.rules import MOST
from toolchain.lowering.scaled import Scaled, Term
from toolchain.lowering.state import Lowering, even, lower_node, single, where, without_offset


@lower_node.register
def _(node: RealNorm, state: Lowering, x: Scaled) -> Scaled:
    """(x - mean) / sqrt(variance + eps) = (n q - S) / sqrt(V + n**2 * eps / scale**2) for x = scale * q + offset.

    Without a mean the offset is brought into the integers.
    """
    x = even(state, node, single(state, node, x), rising=True)
    term = x.terms[0] if node.centred else without_offset(state, node, x)
    channels, ends, centred = term.value.shape[2], (term.value.qint.min, term.value.qint.max), node.centred
    apart = deviation(channels, ends, centred=centred)
    epsilon = round(Fraction(node.epsilon) * channels**2 / term.scale[0] ** 2 * (1 << 2 * ROOT_FRACTION))
    reciprocal = least_reciprocal(apart)
    least = (freedom(channels, centred=centred) << 2 * ROOT_FRACTION) + epsilon
    product = apart << reciprocal - least.bit_length() // 2 + 2
    if max(product, (channels * max(map(abs, ends))) ** 2, epsilon >> 2 * ROOT_FRACTION) >= MOST:
        raise UserError(
            f"{'the mean and the deviation' if centred else 'the mean square'} of {channels} integers "
            f"of {term.value.qint.bits} bits",
            where=where(node),
            hint="quantize what it reads, with one scale",
        )
    facts = {"epsilon": epsilon, "reciprocal": reciprocal, "centred": centred}
    out = state.emit(Norm, node, (term,), node.output.shape, **facts)
    most = largest_normalized(channels, centred=centred)
    return Scaled((Term(out.value, (Fraction(1, 1 << FRACTION),), -most, most),), (Fraction(0),))
