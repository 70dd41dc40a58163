"""QuantizeLinear and DequantizeLinear: quantizers written as two standard nodes, with a Clip between for few bits.

A zero point is subtracted from the codes: QuantizeLinear rounds before it adds the zero point, so a quantizer with zero
point 0 and a shifted range is the same function, and pads with the code 0.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from toolchain.frontend.codes import quantizer_of, shifted
from toolchain.frontend.layout import ACTIVE, Tensor
from toolchain.frontend.linear import emit_affine
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.qdq_parameters import parameters
from toolchain.frontend.reader import Codes, Reader


def read_quantize_linear(reader: Reader, node: OnnxNode) -> None:
    """QuantizeLinear of an activation: remembered until DequantizeLinear gives its codes their value."""
    source = reader.tensor(node, axes=ACTIVE)
    given = parameters(reader.file, node, reader.constants, reader.shape(source))
    if (given.zero != given.zero.flat[0]).any():
        raise reader.file.fault(node, "the zero point differs between channels", "use one zero point a tensor")
    point = int(given.zero.flat[0])
    low, high = given.type.min - point, given.type.max - point
    reader.codes[node.outputs[0]] = Codes(node, source, given.scale, point, low, high, (node.own_name,), given.type)


def narrow_codes(reader: Reader, node: OnnxNode, low: float, high: float) -> None:
    """A Clip of codes: narrows the range of the quantizer."""
    codes = reader.codes[node.input(0)]
    bottom = codes.low if np.isinf(low) else max(codes.low, int(low) - codes.zero_point)
    top = codes.high if np.isinf(high) else min(codes.high, int(high) - codes.zero_point)
    if bottom >= top:
        raise reader.file.fault(node, "a Clip that leaves a single code", "export the model again")
    origin = (*codes.origin, node.own_name)
    reader.codes[node.outputs[0]] = Codes(
        node, codes.source, codes.scale, codes.zero_point, bottom, top, origin, codes.type
    )


def read_dequantize_linear(reader: Reader, node: OnnxNode) -> None:
    """DequantizeLinear of codes that QuantizeLinear made with the same scale and zero point: one quantizer."""
    codes = reader.codes.get(node.input(0))
    if codes is None or node.input(0) in reader.integers:
        _dequantize(reader, node)
        return
    source: Tensor = codes.source
    given = parameters(reader.file, node, reader.constants, reader.shape(source))
    if not np.array_equal(given.scale, codes.scale) or (given.zero != codes.zero_point).any():
        raise reader.file.fault(
            node, "its scale or zero point is not that of its QuantizeLinear", "export the model again"
        )
    if node.input(2) and given.type != codes.type:
        raise reader.file.fault(node, "its zero point is of another type than the codes", "export the model again")
    quantizer = quantizer_of(reader, node, codes)
    origin = tuple(dict.fromkeys((*codes.origin, node.own_name)))  # an operation on codes is all of them
    reader.quantize(node, source, quantizer, origin)


def _dequantize(reader: Reader, node: OnnxNode) -> None:
    """DequantizeLinear of codes that have been moved, or that are the network's input: times the scale."""
    name = node.input(0)
    if name not in reader.integers:
        reader.tensor(node)
        raise reader.file.fault(node, "its input is no output of QuantizeLinear", "export the model again")
    found = reader.integers[name]
    layout = found.tensor.layout
    given = parameters(reader.file, node, reader.constants, reader.shape(found.tensor))
    if node.input(2) and given.type != found.type:
        raise reader.file.fault(node, "its zero point is of another type than the codes", "export the model again")
    shift = found.zero_point - reader.per_channel(node, given.zero, layout, "zero point")
    scale = reader.per_channel(node, given.scale, layout, "scale")
    emit_affine(reader, node, shifted(reader, node, found.tensor, shift), scale, np.zeros(1))
    around = reader.padded.get(name)
    if around is not None:  # the pad around the map is a code as well
        worth = np.unique((around.value + shift) * scale)
        if len(worth) > 1:
            raise reader.file.fault(node, "a Pad of codes whose worth differs by channel", "pad with the zero point")
        tensor = reader.tensors.pop(node.outputs[0])
        reader.padded[node.outputs[0]] = replace(around, source=tensor, value=float(worth[0]))
