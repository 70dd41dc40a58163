"""Conv, Gemm, MatMul and BatchNormalization of an ONNX file."""

from __future__ import annotations

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.constants import QuantConst, number_type
from toolchain.frontend.geometry import map_input, window_of
from toolchain.frontend.layout import ANY, CHANNELS_FIRST, CHANNELS_LAST, TURNED, Layout, Tensor
from toolchain.frontend.moves import in_file_order
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxNode
from toolchain.frontend.reader import Reader
from toolchain.frontend.tokens import read_head_products
from toolchain.frontend.written_norms import ALONE
from toolchain.ir.ops.model import Affine, RealConv, RealNorm
from toolchain.ir.types import QInt


def read_conv(reader: Reader, node: OnnxNode) -> None:
    """Conv of a map with quantized weights; the weights of a channels-last one have their inputs at the end."""
    source, padded = map_input(reader, node)
    channels = source.value.shape[2]
    weight = weight_of(reader, node, 1)
    if weight.codes.ndim != len(source.layout.axes):
        raise reader.file.fault(
            node, f"a {weight.codes.ndim - 2}-dimensional convolution of {source.layout.axes}", "use Conv1d or Conv2d"
        )
    if padded is not None and padded.value != 0:
        raise reader.file.fault(node, f"a Pad with {padded.value:g} in front of it", "pad with zeros")
    groups = int(node.attributes.get("group", 1))
    kernel_codes = weight.codes if source.layout.axes in CHANNELS_LAST else np.moveaxis(weight.codes, 1, -1)
    out_channels, per_group = kernel_codes.shape[0], kernel_codes.shape[-1]
    if per_group * groups != channels or out_channels % groups:
        raise reader.file.fault(
            node, f"weight {weight.codes.shape} in {groups} groups does not fit {channels} channels", "export again"
        )
    codes = kernel_codes if kernel_codes.ndim == 4 else kernel_codes[:, None]
    outputs: tuple[int, ...] = ()
    if source.layout.order and groups == channels:  # the filters go with their channels
        each = out_channels // groups
        outputs = tuple(channel * each + i for channel in source.layout.order for i in range(each))
    elif groups > 1:
        source = in_file_order(reader, node, source)
    else:
        codes = source.layout.permute(codes)
    window = window_of(reader, node, source, (codes.shape[1], codes.shape[2]), padded, widened=True)
    top, left, bottom, right = window.added
    codes = np.pad(codes, ((0, 0), (top, bottom), (left, right), (0, 0)))
    layout = Layout(source.layout.axes, (*window.output, out_channels), outputs)
    bias = bias_of(reader, node, out_channels)
    reader.emit(
        node,
        layout,
        lambda name, value: RealConv(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name, *weight.origin),
            codes=np.ascontiguousarray(layout.permute(codes, axis=0)),
            scale=layout.permute(channel_scale(reader, node, weight, 0)),
            weight_type=QInt(weight.bits, weight.signed),
            bias=None if bias is None else layout.permute(bias),
            stride=window.stride,
            pads=window.pads,
            dilation=window.dilation,
            groups=groups,
        ),
    )


def read_gemm(reader: Reader, node: OnnxNode) -> None:
    """Gemm of a (N, F) tensor, or of the positions of a frame: alpha * x @ W + beta * bias."""
    if node.attributes.get("transA", 0):
        raise reader.file.fault(node, "transA=1", "give the activations as (N, features)")
    alpha, beta = (float(node.attributes.get(key, 1.0)) for key in ("alpha", "beta"))
    if not (np.isfinite([alpha, beta]).all() and alpha > 0):
        raise reader.file.fault(node, f"alpha={alpha:g}, beta={beta:g}", "use alpha=1 and beta=1")
    output_axis = 0 if node.attributes.get("transB", 0) else 1
    axes = ("NWC",) if node.input(0) in reader.rows else ("NC",)
    _linear(reader, node, reader.tensor(node, axes=axes), output_axis, alpha, beta)


def read_matmul(reader: Reader, node: OnnxNode) -> None:
    """MatMul with a constant on the right, over the last axis, or on the left, over the one before; of activations."""
    left, right = (reader.active(node.input(i)) for i in (0, 1))
    if left and right:
        read_head_products(reader, node)
    elif right:
        _linear(reader, node, reader.tensor(node, 1, axes=("NCW",)), 0, constant=0)
    else:
        _linear(reader, node, reader.tensor(node, axes=("NC", *CHANNELS_LAST)), 1)


def _linear(
    reader: Reader,
    node: OnnxNode,
    source: Tensor,
    output_axis: int,
    alpha: float = 1.0,
    beta: float = 1.0,
    *,
    constant: int = 1,
) -> None:
    """The products of the channels of ``source`` with input ``constant`` of ``node``."""
    weight = weight_of(reader, node, constant)
    channels = source.value.shape[2]
    if weight.codes.ndim != 2 or weight.codes.shape[1 - output_axis] != channels:
        raise reader.file.fault(
            node, f"a weight of shape {weight.codes.shape} does not fit {channels} features", "export the model again"
        )
    codes = source.layout.permute(weight.codes if output_axis == 0 else weight.codes.T)
    bias = bias_of(reader, node, len(codes))
    reader.emit(
        node,
        Layout(source.layout.axes, (*source.value.shape[:2], len(codes))),
        lambda name, value: RealConv(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name, *weight.origin),
            codes=np.ascontiguousarray(codes).reshape(len(codes), 1, 1, -1),
            scale=alpha * channel_scale(reader, node, weight, output_axis),
            weight_type=QInt(weight.bits, weight.signed),
            bias=None if bias is None else beta * bias,
        ),
    )


def weight_of(reader: Reader, node: OnnxNode, index: int) -> QuantConst:
    """Input ``index`` of ``node`` as codes with a scale."""
    name = node.input(index)
    weight = reader.constants.coded(name)
    if weight is not None:
        if not weight.codes.size:
            raise reader.file.fault(node, f"a weight of shape {weight.codes.shape}", "export the model again")
        return weight
    if name in reader.constants and number_type(reader.file.datatypes.get(name, "")):
        raise reader.file.fault(
            node, f"the weight '{name}' is no {reader.file.datatypes[name]}, as the file says", "export the model again"
        )
    if name in reader.constants:
        raise reader.file.fault(
            node,
            f"the weight '{name}' is not quantized",
            "put a Quant node on it: train with quantized layers, e.g. brevitas.nn.QuantConv2d or QuantLinear",
        )
    raise reader.file.fault(node, f"the weight '{name}' is not a constant", "export the trained model in eval mode")


def channel_scale(reader: Reader, node: OnnxNode, weight: QuantConst, axis: int) -> np.ndarray:
    """The weight's scale in float64, (1,) or (Cout,) along ``axis``."""
    sizes = [size for i, size in enumerate(weight.scale.shape) if i != axis]
    if any(size != 1 for size in sizes):
        raise reader.file.fault(
            node,
            f"a weight scale of shape {weight.scale.shape} differs along inputs",
            "use one scale a tensor or one an output channel",
        )
    return weight.scale.astype(np.float64).reshape(-1)


def bias_of(reader: Reader, node: OnnxNode, channels: int) -> np.ndarray | None:
    """Input 2 as (channels,) float64, whatever shape it is stored in; None when absent."""
    if not node.input(2):
        return None
    bias = reader.constant(node, 2, "bias").astype(np.float64)
    if bias.size not in (1, channels):
        raise reader.file.fault(
            node, f"a bias of shape {bias.shape} does not fit {channels} channels", "export the model again"
        )
    return np.broadcast_to(bias.reshape(-1), (channels,)).copy()


def read_batch_norm(reader: Reader, node: OnnxNode) -> None:
    """BatchNormalization with fixed statistics, as y = x * scale + shift.

    Both are computed in float64 and then rounded to float32: the float executor rounds them too, so this stays within
    its own error, and 24-bit dyadic numbers keep the exact arithmetic of the lowering small.
    """
    last = node.domain == CHANNELS_LAST_DOMAIN
    source = reader.tensor(node, axes=CHANNELS_LAST if last else (*CHANNELS_FIRST, "NC"))
    if node.attributes.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise reader.file.fault(node, "batch normalization in training mode", "call model.eval() before the export")
    gamma, beta, mean, variance = (
        reader.constant(node, i, what).astype(np.float64).reshape(-1)
        for i, what in enumerate(("gamma", "beta", "mean", "variance"), start=1)
    )
    channels = source.value.shape[2]
    if {len(gamma), len(beta), len(mean), len(variance)} != {channels}:
        raise reader.file.fault(node, f"its parameters do not fit {channels} channels", "export the model again")
    spread = variance + float(node.attributes.get("epsilon", 1e-5))
    if (spread <= 0).any():
        raise reader.file.fault(node, "a variance is negative or zero", "train the model again")
    scale = gamma / np.sqrt(spread)
    emit_affine(reader, node, source, scale, beta - mean * scale, np.abs(beta) + np.abs(mean * scale))


def read_layer_norm(reader: Reader, node: OnnxNode) -> None:
    """LayerNormalization, RMSNormalization: of the features of every position, perhaps with factors and biases."""
    axis, alone = int(node.attributes.get("axis", -1)), ALONE in node.attributes
    source = reader.tensor(node, axes=ANY if alone else ("NC", *CHANNELS_LAST))
    rank = len(source.layout.axes)
    if alone and axis % rank != source.layout.channel_axis and axis % rank and source.layout.axes in TURNED:
        source = reader.tensor(node, axes=(TURNED[source.layout.axes],))
    wanted = source.layout.channel_axis if alone else rank - 1
    epsilon, channels = float(node.attributes.get("epsilon", 1e-5)), source.value.shape[2]
    if axis % rank != wanted or channels == 1:
        raise reader.file.fault(
            node,
            f"axis={axis} of a tensor {reader.shape(source)}; it is the last that can be normalized",
            "transpose in front of it, and give it several features",
        )
    if not 0 <= epsilon < np.inf or any(node.outputs[1:]):
        raise reader.file.fault(node, "its mean and deviation are used, or its epsilon is none", "use its output only")
    gamma, beta = np.ones(1), np.zeros(1)
    if node.input(1):
        gamma = reader.constant(node, 1, "scale").reshape(-1)
    if node.input(2):
        beta = reader.constant(node, 2, "bias").reshape(-1)
    if not {gamma.size, beta.size} <= {1, channels}:
        raise reader.file.fault(node, f"its parameters do not fit {channels} features", "export the model again")
    value = reader.emit(
        node,
        source.layout,
        lambda name, value: RealNorm(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            epsilon=epsilon,
            centred=node.op == "LayerNormalization",
        ),
        define=False,
    )
    emit_affine(reader, node, Tensor(value, source.layout, source.onnx_name), gamma, beta)


def emit_affine(
    reader: Reader,
    node: OnnxNode,
    source: Tensor,
    scale: np.ndarray,
    shift: np.ndarray,
    summed: np.ndarray | None = None,
) -> None:
    """An Affine node; its arrays are (C,) in ONNX order or (1,), and ``scale`` and ``shift`` become float32 numbers."""
    with np.errstate(over="ignore"):
        rounded = [source.layout.permute(a).astype(np.float32).astype(np.float64) for a in (scale, shift)]
    if not all(np.isfinite(a).all() for a in rounded):
        raise overflow(reader, node)
    reader.emit(
        node,
        source.layout,
        lambda name, value: Affine(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            scale=rounded[0],
            shift=rounded[1],
            summed=None if summed is None else source.layout.permute(summed),
        ),
    )


def overflow(reader: Reader, node: OnnxNode) -> UserError:
    """A constant beyond float32."""
    return reader.file.fault(node, "its constants are beyond the range of float32", "train the model again")
