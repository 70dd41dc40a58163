"""Types that hls4ml does not find by itself: of its input, and of averages, which it cuts to their input's fraction."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor, log2

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.model import Quantize, RealPool, Relu
from toolchain.ir.types import Array, Encoding, Quantizer

FINE_BITS, EXACT_BITS = 24, 40
"""Fraction bits of a number: all that it needs up to EXACT_BITS, FINE_BITS of one that has no end, such as 1/255."""


def real_inputs(encoding: Encoding, codes: Array) -> Array:
    """Real values (float64) of input ``codes``."""
    quantizer = encoding.quantizer
    if quantizer is not None:
        return np.asarray((codes - quantizer.zero_point) * np.asarray(quantizer.unit))
    given = encoding.input
    scale, offset = ([float(f) for f in numbers] for numbers in (given.scale, given.offset))
    return np.asarray(codes * np.array(scale) + np.array(offset))


def input_precision(integer: Graph) -> str:
    """The fixed-point type of the input: exact where the steps are dyadic, else with many fraction bits."""
    assert integer.encoding is not None
    kind = integer.input.qint
    codes = np.array([kind.min, kind.max, 0, 1]).reshape(-1, 1, 1, 1)
    values = real_inputs(integer.encoding, codes)
    # offset and step, the values of 0 and 1, need every fraction bit that any value does
    fraction = max(_fraction_bits(float(value)) for value in np.ravel(values))
    return fixed_point(float(np.abs(values).max()), fraction)


def fixed_point(reach: float, fraction: int) -> str:
    """The signed type of values up to ``reach`` in magnitude with ``fraction`` bits behind the point."""
    whole = max(floor(log2(reach)) + 2, 1) + 1 if reach else 2
    return f"fixed<{whole + fraction},{whole}>"


def _fraction_bits(value: float) -> int:
    bits = Fraction(value).denominator.bit_length() - 1
    return bits if bits <= EXACT_BITS else FINE_BITS


def average_precisions(model: Graph) -> dict[str, str]:
    """Types, by node, that hold the averages of quantized values: the input's with a bit more for each halving."""
    producers = model.producers()
    found = {}
    for node in model.nodes:
        if not isinstance(node, RealPool) or node.kind == "max":
            continue
        made = producers.get(node.inputs[0])
        while isinstance(made, (Relu, Reshape)) or (isinstance(made, RealPool) and made.kind == "max"):
            made = producers.get(made.inputs[0])
        if isinstance(made, Quantize):
            halvings = ceil(log2(node.kernel[0] * node.kernel[1]))
            fraction = max(map(_fraction_bits, made.quantizer.unit))
            found[node.name] = fixed_point(_reach(made.quantizer), fraction + halvings)
    return found


def _reach(quantizer: Quantizer) -> float:
    """The largest magnitude that ``quantizer`` puts out."""
    ends = (quantizer.low - quantizer.zero_point, quantizer.high - quantizer.zero_point)
    return max(abs(end) for end in ends) * max(quantizer.unit)
