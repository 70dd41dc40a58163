"""ConvTranspose of an ONNX file: a convolution that makes all outputs of a position at once, spread over its block.

Output position y gets tap u of input i where y = stride * i + u - pad. Of the positions y + pad = stride * q + r each
remainder r has taps r, r + stride, ... on the inputs q, q - 1, ...: a convolution of ceil(kernel / stride) taps without
a stride, whose output channels are those of all remainders. DepthToSpace lays them out and the pads are cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.frontend.layout import CHANNELS_FIRST, Layout, Tensor
from toolchain.frontend.linear import bias_of, channel_scale, weight_of
from toolchain.frontend.moves import in_file_order
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Reader
from toolchain.frontend.rearrange import cropped
from toolchain.ir.ops.maps import DepthToSpace
from toolchain.ir.ops.model import RealConv
from toolchain.ir.types import Array, QInt


@dataclass(frozen=True)
class Axis:
    """One axis of a transposed convolution that is computed as a convolution.

    The convolution has ``taps`` and ``pads``; of its output ``start`` positions are cut off in front, ``size`` stay.
    """

    taps: int
    pads: tuple[int, int]
    start: int
    size: int

    @staticmethod
    def of(size: int, kernel: int, stride: int, pad: int, output: int) -> Axis:
        """Compute the axis for ``size`` inputs and ``output`` outputs from position ``pad`` on."""
        taps = -(-kernel // stride)
        first, last = min(pad // stride, taps - 1), (pad + output - 1) // stride
        return Axis(taps, (taps - 1 - first, max(last - size + 1, 0)), pad - first * stride, output)


def read_conv_transpose(reader: Reader, node: OnnxNode) -> None:
    """ConvTranspose of a map with quantized weights, with groups, dilation, pads and output padding."""
    source = in_file_order(reader, node, reader.tensor(node, axes=CHANNELS_FIRST))
    weight, groups = weight_of(reader, node, 1), int(node.attributes.get("group", 1))
    flat = len(source.layout.axes) == 3
    channels = source.value.shape[2]
    if weight.codes.ndim != len(source.layout.axes) or weight.codes.shape[0] != channels or channels % groups:
        raise reader.file.fault(
            node, f"weight {weight.codes.shape} in {groups} groups does not fit {channels} channels", "export again"
        )
    codes = weight.codes[:, :, None] if flat else weight.codes
    stride, dilation = (_numbers(reader, node, name, flat, 1) for name in ("strides", "dilations"))
    codes = _dilated(codes, dilation)
    axes = _axes(reader, node, source, (codes.shape[2], codes.shape[3]), stride, flat)
    outputs = codes.shape[1] * groups
    scale, bias = channel_scale(reader, node, weight, 1), bias_of(reader, node, outputs)
    scale = np.tile(scale, groups) if len(scale) > 1 else scale
    # a group's outputs lie together, so its remainders stand behind each output
    remainders = stride[0] * stride[1]
    rows, columns = (
        size + sum(axis.pads) - axis.taps + 1 for size, axis in zip(source.value.shape, axes, strict=False)
    )
    conv = reader.emit(
        node,
        Layout("NHWC", (rows, columns, outputs * remainders)),
        lambda name, value: RealConv(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name, *weight.origin),
            codes=_remainders(codes, stride, groups),
            scale=scale if len(scale) == 1 else np.repeat(scale, remainders),
            weight_type=QInt(weight.bits, weight.signed),
            bias=None if bias is None else np.repeat(bias, remainders),
            pads=(axes[0].pads[0], axes[1].pads[0], axes[0].pads[1], axes[1].pads[1]),
            groups=groups,
        ),
        define=False,
    )
    layout = Layout(source.layout.axes, (rows * stride[0], columns * stride[1], outputs))
    wide = conv
    if remainders > 1:
        wide = reader.emit(
            node,
            layout,
            lambda name, value: DepthToSpace(
                name=name,
                inputs=(conv.name,),
                outputs=(value,),
                origin=(node.own_name,),
                block=stride,
                channels_first=True,
            ),
            define=False,
        )
    start, size = (axes[0].start, axes[1].start), (axes[0].size, axes[1].size)
    reader.alias(node, cropped(reader, node, Tensor(wide, layout, node.outputs[0]), start, size))


def _numbers(reader: Reader, node: OnnxNode, name: str, flat: bool, default: int) -> tuple[int, int]:
    """An attribute of one number an axis; of a signal the first is that of no stride, dilation or output padding."""
    given = tuple(int(n) for n in node.attributes.get(name, (default,) * (1 if flat else 2)))
    if len(given) != (1 if flat else 2) or min(given) < default:
        raise reader.file.fault(
            node, f"{name} {list(given)}", f"give a number of at least {default} an axis of the map"
        )
    return (default, given[0]) if flat else (given[0], given[1])


def _dilated(codes: Array, dilation: tuple[int, int]) -> Array:
    """``codes`` (I, O, kh, kw) with zeros between the taps."""
    kernel = [(k - 1) * d + 1 for k, d in zip(codes.shape[2:], dilation, strict=True)]
    spread = np.zeros((*codes.shape[:2], *kernel), dtype=codes.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = codes
    return spread


def _axes(
    reader: Reader, node: OnnxNode, source: Tensor, kernel: tuple[int, int], stride: tuple[int, int], flat: bool
) -> tuple[Axis, Axis]:
    """Return the rows' axis and the columns', their pads resolved by ONNX's formulas."""
    extra = _numbers(reader, node, "output_padding", flat, 0)
    mode = node.attributes.get("auto_pad", b"NOTSET").decode("utf-8", "replace")
    pads = tuple(int(p) for p in node.attributes.get("pads", (0,) * (2 if flat else 4)))
    pads = (0, pads[0], 0, pads[1]) if flat and len(pads) == 2 else pads
    asked = tuple(int(n) for n in node.attributes.get("output_shape", ()))
    asked = (1, *asked) if flat and asked else asked
    if mode.startswith("SAME") and not asked:
        asked = tuple(size * step for size, step in zip(source.value.shape, stride, strict=False))
    if len(pads) != 4 or min(pads) < 0 or len(asked) not in (0, 2):
        raise reader.file.fault(node, f"pads {list(pads)}, output_shape {list(asked)}", "give numbers for each axis")
    found = []
    for i, (size, k, step) in enumerate(zip(source.value.shape, kernel, stride, strict=False)):
        full, first = step * (size - 1) + extra[i] + k, pads[i]
        output = asked[i] if asked else full - pads[i] - pads[i + 2]
        if asked:
            total = max(full - output, 0)
            first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        axis = Axis.of(size, k, step, first, output)
        span = (size + sum(axis.pads) - axis.taps + 1) * step
        if output < 1 or max(axis.pads) > max(axis.taps - 1, 0) or axis.start + output > span:
            raise reader.file.fault(
                node,
                f"{size} positions to {output} by a kernel of {k} and a stride of {step}",
                "pad less than the kernel",
            )
        found.append(axis)
    return found[0], found[1]


def _remainders(codes: Array, stride: tuple[int, int], groups: int) -> Array:
    """Weights (O * remainders, taps, taps, I / groups) of the convolution, from ``codes`` (I, O / groups, kh, kw)."""
    inputs, each, *kernel = codes.shape
    taps = [-(-k // s) for k, s in zip(kernel, stride, strict=True)]
    whole = np.zeros((inputs, each, taps[0] * stride[0], taps[1] * stride[1]), dtype=codes.dtype)
    whole[:, :, : kernel[0], : kernel[1]] = codes
    parts = whole.reshape(groups, inputs // groups, each, taps[0], stride[0], taps[1], stride[1])
    parts = parts[:, :, :, ::-1, :, ::-1]  # tap t is that of input q - t
    ordered = parts.transpose(0, 2, 4, 6, 3, 5, 1)
    return np.ascontiguousarray(ordered).reshape(-1, *taps, inputs // groups)
