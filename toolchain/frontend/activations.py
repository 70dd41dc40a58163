"""Relu, LeakyRelu, PRelu, Clip, smooth functions, MultiThreshold and Trunc of an ONNX file."""

from __future__ import annotations

import numpy as np

from toolchain.frontend.constants import QuantRule, read_quant, rounding_of
from toolchain.frontend.layout import ACTIVE
from toolchain.frontend.linear import emit_affine
from toolchain.frontend.onnx_file import OnnxNode, channel_axis, data_layout
from toolchain.frontend.qcdq import narrow_codes
from toolchain.frontend.reader import Reader
from toolchain.ir.channels import shrink_rows
from toolchain.ir.ops.model import Clamp, Curve, LeakyRelu, MultiThreshold, Relu
from toolchain.ir.rounding import Rounding
from toolchain.ir.types import Quantizer

FLOAT32_MAX = float(np.finfo(np.float32).max)
WIDE = 1 << 31


def read_relu(reader: Reader, node: OnnxNode) -> None:
    """Read a Relu."""
    source = reader.tensor(node, axes=ACTIVE)
    reader.emit(
        node,
        source.layout,
        lambda name, value: Relu(name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,)),
    )


def read_leaky_relu(reader: Reader, node: OnnxNode) -> None:
    """LeakyRelu with its slope, or PRelu with a constant slope a channel."""
    source = reader.tensor(node)
    if node.op == "PRelu":
        given = reader.constant(node, 1, "slope").astype(np.float64)
        slope = source.layout.permute(reader.per_channel(node, given, source.layout, "slope"))
    else:
        slope = np.array([float(node.attributes.get("alpha", 0.01))])
    if not np.isfinite(slope).all() or (slope < 0).any():
        raise reader.file.fault(
            node, f"a slope of {slope.min():g}, which makes it fall", "train with slopes of at least 0"
        )
    slope = slope.astype(np.float32).astype(np.float64)
    reader.emit(
        node,
        source.layout,
        lambda name, value: LeakyRelu(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), slope=slope
        ),
    )


def read_clip(reader: Reader, node: OnnxNode) -> None:
    """Clip to [0, inf) is a Relu; a bound that every quantizer behind the Clip implies is left out."""
    low, high = (_bound(reader, node, index) for index in (0, 1))
    if node.input(0) in reader.codes:
        narrow_codes(reader, node, low, high)
        return
    source = reader.tensor(node)
    ranges = [_real_range(reader, consumer) for consumer in reader.consumers.get(node.outputs[0], [])]
    quantized = bool(ranges) and None not in ranges and node.outputs[0] not in reader.file.outputs
    known = [r for r in ranges if r is not None]
    needs_low = low > -FLOAT32_MAX and not (quantized and all(low <= r[0] for r in known))
    needs_high = high < FLOAT32_MAX and not (quantized and all(r[1] <= high for r in known))
    if not low <= high or low == np.inf or high == -np.inf:
        raise reader.file.fault(node, f"Clip to [{low:g}, {high:g}]", "give a minimum below the maximum")
    if needs_high or (needs_low and low != 0):
        low, high = low if needs_low else -np.inf, high if needs_high else np.inf
        reader.emit(
            node,
            source.layout,
            lambda name, value: Clamp(
                name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), low=low, high=high
            ),
        )
    elif needs_low:
        read_relu(reader, node)
    else:
        reader.alias(node, source)


CURVES: dict[str, tuple[tuple[str, float], ...]] = {
    "Abs": (),
    "Celu": (("alpha", 1.0),),
    "Elu": (("alpha", 1.0),),
    "Erf": (),
    "Gelu": (),
    "HardSwish": (),
    "Mish": (),
    "Selu": (("alpha", 1.67326319217681884765625), ("gamma", 1.05070102214813232421875)),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Swish": (("alpha", 1.0),),
    "Tanh": (),
}
"""Functions of one number with their attributes and what those are where they are absent."""


def read_curve(reader: Reader, node: OnnxNode) -> None:
    """A function of one number; at the end of the network it is left to the host."""
    source = reader.tensor(node)
    if node.outputs[0] in reader.file.outputs and not reader.consumers.get(node.outputs[0]):
        reader.leave_out(node, "the accelerator puts out what it reads, the host applies it")
        return
    numbers = [float(np.float32(node.attributes.get(key, default))) for key, default in CURVES[node.op]]
    if not np.isfinite(numbers).all() or (node.op == "Celu" and numbers[0] <= 0):
        raise reader.file.fault(node, f"parameters {numbers}", "train the model again")
    approximate = node.op == "Gelu" and node.attributes.get("approximate", b"none") == b"tanh"
    kind = "GeluTanh" if approximate else node.op
    alpha, beta, *_ = *numbers, 0.0, 0.0
    reader.emit(
        node,
        source.layout,
        lambda name, value: Curve(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            kind=kind,
            alpha=alpha,
            beta=beta,
        ),
    )


def read_hard_sigmoid(reader: Reader, node: OnnxNode) -> None:
    """min(max(alpha * x + beta, 0), 1): a line and a clamp."""
    if node.outputs[0] in reader.file.outputs and not reader.consumers.get(node.outputs[0]):
        reader.leave_out(node, "the accelerator puts out what it reads, the host applies it")
        return
    alpha, beta = (np.array([float(node.attributes.get(key, d))]) for key, d in (("alpha", 0.2), ("beta", 0.5)))
    emit_affine(reader, node, reader.tensor(node), alpha, beta)
    line = reader.tensors[node.outputs[0]]
    reader.emit(
        node,
        line.layout,
        lambda name, value: Clamp(
            name=name, inputs=(line.value.name,), outputs=(value,), origin=(node.own_name,), low=0.0, high=1.0
        ),
    )


def read_neg(reader: Reader, node: OnnxNode) -> None:
    """The number with the other sign."""
    emit_affine(reader, node, reader.tensor(node), -np.ones(1), np.zeros(1))


def _bound(reader: Reader, node: OnnxNode, index: int) -> float:
    key, default = (("min", -np.inf), ("max", np.inf))[index]
    if node.input(index + 1):
        return reader.number(node, index + 1, f"bound '{key}'", infinite=True)
    return float(node.attributes.get(key, default))


def _real_range(reader: Reader, node: OnnxNode) -> tuple[float, float] | None:
    """Smallest and largest real value the quantizer ``node`` puts out; None when it is no multi-level quantizer."""
    if not node.is_quant or node.op == "Trunc":
        return None
    rule: QuantRule = read_quant(reader.file, node, reader.constants)
    if rule.bipolar:
        return None
    low, high = ((code - rule.zero_point) * rule.scale.astype(np.float64) for code in (rule.low, rule.high))
    return float(low.min()), float(high.max())


def read_multi_threshold(reader: Reader, node: OnnxNode) -> None:
    """FINN's MultiThreshold: out_scale times the number of thresholds reached, plus out_bias.

    Thresholds are one row, or one a channel of the axis that ``data_layout`` calls C; without one the executor takes
    the second axis of (N, C) and of maps, and the last of three.
    """
    source = reader.tensor(node)
    rows = np.sort(reader.constant(node, 1, "thresholds").astype(np.float64), axis=-1)
    scale, bias = (float(node.attributes.get(key, default)) for key, default in (("out_scale", 1.0), ("out_bias", 0.0)))
    if not (np.isfinite([scale, bias]).all() and scale > 0):
        what = f"out_scale={scale:g}, out_bias={bias:g}"
        raise reader.file.fault(node, what, "give a finite bias and a scale above 0")
    if rows.ndim != 2 or not rows.size or len(rows) not in (1, source.value.shape[2]):
        raise reader.file.fault(
            node,
            f"thresholds of shape {rows.shape} do not fit {source.value.shape[2]} channels",
            "give one row of thresholds a tensor or one a channel",
        )
    axis = channel_axis(data_layout(node) or {2: "NC", 3: "NWC", 4: "NCHW"}[len(source.layout.axes)])
    if len(rows) > 1 and axis != source.layout.channel_axis:
        raise reader.file.fault(
            node,
            f"thresholds along axis {axis} of {source.layout.axes}",
            "set data_layout to the order of the input's axes",
        )
    rows = source.layout.permute(rows, axis=0)
    reader.emit(
        node,
        source.layout,
        lambda name, value: MultiThreshold(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            thresholds=shrink_rows(rows),
            scale=scale,
            bias=bias,
            tensor=node.outputs[0],
        ),
    )


def read_trunc(reader: Reader, node: OnnxNode) -> None:
    """Trunc: multiples of an input scale lose their low bits, by the rule of its five or six inputs.

    With five the codes keep the input's scale and are not clamped; with six they have a scale and limits of their own.
    """
    source = reader.tensor(node)
    second = len(node.inputs) == 6
    if len(node.inputs) not in (5, 6):
        raise reader.file.fault(node, f"{len(node.inputs)} inputs", "export the model again")
    numbers = [reader.number(node, i, "parameter") for i in range(1, len(node.inputs))]
    scale, zero, bits = numbers[0], numbers[1], numbers[-1]
    valid = scale > 0 and zero == 0 and bits == int(bits) and 1 <= bits <= 32 and (not second or numbers[3] > 0)
    shift = float(np.round(np.log2(numbers[3] / scale))) if second and valid else numbers[2] - bits
    if not valid or shift != int(shift) or not 0 <= shift <= 31:
        raise reader.file.fault(
            node,
            f"scale {scale:g}, zero point {zero:g}, {bits:g} bits, {shift:g} bits less",
            "truncate some of 32 bits",
        )
    rounding, low, high = rounding_of(reader.file, node, Rounding.FLOOR), -WIDE, WIDE - 1
    if second:
        signed, narrow = bool(node.attributes.get("signed", 1)), bool(node.attributes.get("narrow", 0))
        low = -(1 << int(bits) - 1) + narrow if signed else 0
        high = (1 << int(bits) - 1) - 1 if signed else (1 << int(bits)) - 1 - narrow
    grid = 1 << int(shift)
    quantizer = Quantizer(
        (scale * grid,),
        0,
        low,
        high,
        rounding if grid > 1 else Rounding.ROUND,
        grid=grid,
        step=(numbers[3] if second else scale,),
    )
    reader.quantize(node, source, quantizer)
