"""ConvTranspose of an ONNX file: a convolution that makes all outputs of a position at once, spread over its block.

Output position y gets tap u of input i where y = stride * i + u - pad. Of the positions y + pad = stride * q + r each
remainder r has taps r, r + stride, ... on the inputs q, q - 1, ...: a convolution of ceil(kernel / stride) taps without
a stride, whose output channels are those of all remainders. DepthToSpace lays them out and the pads are cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from toolchain.frontend.layout import CHANNELS_FIRST, Layout, Tensor
from toolchain.frontend.linear import bias_of, channel_scale, weight_of
from toolchain.frontend.moves import in_file_order
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
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
    channels = source.value.shape[2]
    if weight.codes.ndim != len(source.layout.axes) or weight.codes.shape[0] != channels or channels % groups:
        raise reader.file.fault(
            node, f"weight {weight.codes.shape} in {groups} groups does not fit {channels} channels", "export again"
        )
    stride, codes, axes = as_convolution(reader.file, node, weight.codes, groups, source.value.shape[:2])
    remainders = stride[0] * stride[1]
    outputs = len(codes) // remainders
    scale, bias = channel_scale(reader, node, weight, 1), bias_of(reader, node, outputs)
    scale = np.tile(scale, groups) if len(scale) > 1 else scale
    # a group's outputs lie together, so its remainders stand behind each output
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
            codes=codes,
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


def as_convolution(
    file: OnnxFile, node: OnnxNode, weight: Array, groups: int, sizes: Sequence[int]
) -> tuple[tuple[int, int], Array, tuple[Axis, Axis]]:
    """The convolution that a ConvTranspose is: its block of outputs, its weights and its axes.

    Its outputs are those of the block one behind the other for each of the node's.

    Args:
        file, node: the node and its file.
        weight: (I, O / groups, kh, kw), of a signal (I, O / groups, k).
        groups: of the node.
        sizes: rows and columns of what it reads.

    Returns:
        The weights are (O * outputs of a block, taps, taps, I / groups).
    """
    flat = weight.ndim == 3
    stride, dilation = (_numbers(file, node, name, flat, 1) for name in ("strides", "dilations"))
    spread = _dilated(weight[:, :, None] if flat else weight, dilation)
    return stride, _remainders(spread, stride, groups), _axes(file, node, sizes, spread.shape[2:], stride, flat)


def _numbers(file: OnnxFile, node: OnnxNode, name: str, flat: bool, default: int) -> tuple[int, int]:
    """An attribute of one number an axis; of a signal the first is that of no stride, dilation or output padding."""
    given = tuple(int(n) for n in node.attributes.get(name, (default,) * (1 if flat else 2)))
    if len(given) != (1 if flat else 2) or min(given) < default:
        raise file.fault(node, f"{name} {list(given)}", f"give a number of at least {default} an axis of the map")
    return (default, given[0]) if flat else (given[0], given[1])


def _dilated(codes: Array, dilation: tuple[int, int]) -> Array:
    """``codes`` (I, O, kh, kw) with zeros between the taps."""
    kernel = [(k - 1) * d + 1 for k, d in zip(codes.shape[2:], dilation, strict=True)]
    spread = np.zeros((*codes.shape[:2], *kernel), dtype=codes.dtype)
    spread[:, :, :: dilation[0], :: dilation[1]] = codes
    return spread


def _axes(
    file: OnnxFile, node: OnnxNode, sizes: Sequence[int], kernel: Sequence[int], stride: tuple[int, int], flat: bool
) -> tuple[Axis, Axis]:
    """Return the rows' axis and the columns', their pads resolved by ONNX's formulas."""
    extra = _numbers(file, node, "output_padding", flat, 0)
    mode = node.attributes.get("auto_pad", b"NOTSET").decode("utf-8", "replace")
    pads = tuple(int(p) for p in node.attributes.get("pads", (0,) * (2 if flat else 4)))
    pads = (0, pads[0], 0, pads[1]) if flat and len(pads) == 2 else pads
    asked = tuple(int(n) for n in node.attributes.get("output_shape", ()))
    asked = (1, *asked) if flat and asked else asked
    if mode.startswith("SAME") and not asked:
        asked = tuple(size * step for size, step in zip(sizes, stride, strict=True))
    if len(pads) != 4 or min(pads) < 0 or len(asked) not in (0, 2):
        raise file.fault(node, f"pads {list(pads)}, output_shape {list(asked)}", "give numbers for each axis")
    found = []
    for i, (size, k, step) in enumerate(zip(sizes, kernel, stride, strict=True)):
        full, first = step * (size - 1) + extra[i] + k, pads[i]
        output = asked[i] if asked else full - pads[i] - pads[i + 2]
        if asked:
            total = max(full - output, 0)
            first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        axis = Axis.of(size, k, step, first, output)
        span = (size + sum(axis.pads) - axis.taps + 1) * step
        if output < 1 or max(axis.pads) > max(axis.taps - 1, 0) or axis.start + output > span:
            raise file.fault(
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
