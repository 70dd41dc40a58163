"""A layer norm: of integers with one scale, of which neither the scale nor the offset is left but in epsilon."""

from __future__ import annotations

from fractions import Fraction

from toolchain.errors import UserError
from toolchain.ir.ops.model import RealNorm
from toolchain.ir.ops.norm import FRACTION, ROOT_FRACTION, Norm, deviation, largest_normalized, least_reciprocal
from toolchain.ir.rules import MOST
from toolchain.lowering.scaled import Scaled, Term
from toolchain.lowering.state import Lowering, even, lower_node, single, where


@lower_node.register
def _(node: RealNorm, state: Lowering, x: Scaled) -> Scaled:
    """(x - mean) / sqrt(variance + eps) = (n q - S) / sqrt(V + n**2 * eps / scale**2) for x = scale * q + offset."""
    (term,) = even(state, node, single(state, node, x), rising=True).terms
    channels, ends = term.value.shape[2], (term.value.qint.min, term.value.qint.max)
    epsilon = round(Fraction(node.epsilon) * channels**2 / term.scale[0] ** 2 * (1 << 2 * ROOT_FRACTION))
    reciprocal = least_reciprocal(channels, ends)
    least = (channels - 1 << 2 * ROOT_FRACTION) + epsilon
    product = deviation(channels, ends) << reciprocal - least.bit_length() // 2 + 2
    if max(product, (channels * max(map(abs, ends))) ** 2, epsilon >> 2 * ROOT_FRACTION) >= MOST:
        raise UserError(
            f"the mean and the deviation of {channels} integers of {term.value.qint.bits} bits",
            where=where(node),
            hint="quantize what it reads, with one scale",
        )
    out = state.emit(Norm, node, (term,), node.output.shape, epsilon=epsilon, reciprocal=reciprocal)
    most = largest_normalized(channels)
    return Scaled((Term(out.value, (Fraction(1, 1 << FRACTION),), -most, most),), (Fraction(0),))
