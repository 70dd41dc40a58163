"""QONNX file to MODEL-level graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend import activations, elementwise, linear, qcdq, rearrange, resize, spatial, transposed
from toolchain.frontend.codes import (
    MOVERS,
    holds_codes,
    holds_move,
    integers,
    read_before_move,
    read_before_pad,
    read_cast,
    read_moved,
    settle,
    shifted,
)
from toolchain.frontend.folding import fold
from toolchain.frontend.host_part import ending_at
from toolchain.frontend.input_order import first_orders
from toolchain.frontend.layout import HEADS, Layout, Tensor
from toolchain.frontend.metadata import DATA, classes_of, encoding_of, reading_of
from toolchain.frontend.moves import in_file_order, moved_layout, padded_layout
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxFile, OnnxNode, load_onnx
from toolchain.frontend.reader import Reader, ir_name
from toolchain.frontend.several_inputs import Joined
from toolchain.frontend.unsupported import why_not
from toolchain.frontend.written_norms import RMS
from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph, Output
from toolchain.ir.names import Names
from toolchain.ir.ops.model import MultiThreshold, Quantize, RealConv
from toolchain.ir.types import Array, Encoding, Value

CHANNELS_LAST_OPS = frozenset({"BatchNormalization", "Conv", "MaxPool"})
_EACH_NUMBER = "Cast Clip DequantizeLinear HardSigmoid Identity LeakyRelu Neg PRelu QuantizeLinear Relu"
EACH_NUMBER = frozenset(_EACH_NUMBER.split()) | activations.CURVES.keys()
"""Operations that do the same to every number of one tensor, where what they read beside it is one number."""
RESHAPES = frozenset({"Flatten", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operations that take tensors of any rank, moved and not yet read."""
AFTER_ROWS = "reshape it to (1, positions, features) behind the Gemm"
PICKS = frozenset({"Gather", "Split"})
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
HANDLERS: Mapping[str, Callable[[Reader, OnnxNode], None]] = {
    "Add": elementwise.read_arithmetic,
    "ArgMax": elementwise.read_argmax,
    "AveragePool": spatial.read_pool,
    "BatchNormalization": linear.read_batch_norm,
    "Cast": read_cast,
    "Clip": activations.read_clip,
    "Concat": rearrange.read_concat,
    "Conv": linear.read_conv,
    "ConvTranspose": transposed.read_conv_transpose,
    "DepthToSpace": rearrange.read_depth_to_space,
    "DequantizeLinear": qcdq.read_dequantize_linear,
    "Div": elementwise.read_arithmetic,
    "Dropout": elementwise.read_identity,
    "Expand": resize.read_expand,
    "Flatten": spatial.read_flatten,
    "Gather": rearrange.read_gather,
    "Gemm": linear.read_gemm,
    "GlobalAveragePool": spatial.read_global_pool,
    "GlobalMaxPool": spatial.read_global_pool,
    "HardSigmoid": activations.read_hard_sigmoid,
    "Identity": elementwise.read_identity,
    **dict.fromkeys(("LayerNormalization", RMS), linear.read_layer_norm),
    "LeakyRelu": activations.read_leaky_relu,
    "LogSoftmax": elementwise.read_softmax,
    "MatMul": linear.read_matmul,
    **dict.fromkeys(("Max", "Min"), elementwise.read_extreme),
    "MaxPool": spatial.read_pool,
    "Mul": elementwise.read_arithmetic,
    "MultiThreshold": activations.read_multi_threshold,
    "Neg": activations.read_neg,
    "PRelu": activations.read_leaky_relu,
    "Pad": spatial.read_pad,
    "Pow": elementwise.read_power,
    "QuantizeLinear": qcdq.read_quantize_linear,
    "ReduceMax": spatial.read_reduction,
    "ReduceMean": spatial.read_reduction,
    "Relu": activations.read_relu,
    "Reshape": spatial.read_reshape,
    "Resize": resize.read_resize,
    "Shape": spatial.read_shape,
    "Slice": rearrange.read_slice,
    "Softmax": elementwise.read_softmax,
    "SpaceToDepth": rearrange.read_space_to_depth,
    "Split": rearrange.read_split,
    "Squeeze": spatial.read_squeeze,
    "Sub": elementwise.read_arithmetic,
    "Sum": elementwise.read_arithmetic,
    "TopK": elementwise.read_topk,
    "Transpose": spatial.read_transpose,
    "Unsqueeze": spatial.read_unsqueeze,
    "Upsample": resize.read_resize,
} | dict.fromkeys(activations.CURVES, activations.read_curve)
"""One function an ONNX operation that depends on the input; operations on constants are folded before."""


@dataclass(frozen=True)
class ModelFile:
    """A QONNX file as read.

    ``graph`` is at MODEL level. ``layout`` maps host arrays to the graph's input, ``layouts`` every ONNX tensor that
    depends on it to the IR value of the same data (``values`` names it): of a tensor of codes less its zero point,
    which ``zeros`` has. ``outputs`` are the ONNX tensors of the graph's outputs; one differs from the file's when a
    final Softmax is left out. ``params`` counts weights and biases, ``macs`` multiplications of a frame. ``encoding``,
    ``classes``, ``data`` and ``reading``, which tells how that is read, come from the file's metadata; ``datatype`` is
    the QONNX datatype noted beside the input, "" for none, or its own where ``integer`` is set; ``encoding`` follows
    from it where the metadata is silent. ``joined`` tells how several inputs of the file became the graph's.
    """

    path: Path
    sha256: str
    graph: Graph
    layout: Layout
    layouts: Mapping[str, Layout]
    values: Mapping[str, str]
    zeros: Mapping[str, int]
    outputs: tuple[str, ...]
    params: int
    macs: int
    metadata: Mapping[str, str]
    encoding: Encoding | None
    datatype: str
    integer: bool
    data: str | None
    reading: Mapping[str, Any]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    joined: Joined | None = None

    @property
    def output(self) -> str:
        """The ONNX tensor of the only output."""
        (name,) = self.outputs
        return name

    def output_layout(self, name: str) -> Layout:
        """Return the layout of the output ``name`` as it is put out, with its channels in the order of the file."""
        return replace(self.layouts[name], order=())

    def to_ir(self, name: str, array: Array) -> Array:
        """The batch ``array`` of the ONNX tensor ``name`` as the values (N, H, W, C) that the IR has for it."""
        values = self.layouts[name].to_ir(array)
        return values.astype(np.float64) - self.zeros[name] if name in self.zeros else values


def read_qonnx(path: Path, outputs: Sequence[str] = ()) -> ModelFile:
    """Read the QONNX file ``path`` as far as the tensors ``outputs``, the file's own outputs where none is given.

    Raises:
        UserError: it cannot be built; names the node and what to do.
    """
    return read_file(load_onnx(path), outputs)


def read_file(file: OnnxFile, outputs: Sequence[str] = ()) -> ModelFile:
    """``read_qonnx`` of a file that is loaded."""
    file = ending_at(file, outputs or file.outputs)
    reader = Reader(file)
    layout = input_layout(reader)
    value = reader.start(layout)
    for node in [node for node in file.nodes if not fold(reader.constants, node)]:
        if not fold(reader.constants, node):
            read_node(reader, node)
    graph, ends = whole_graph(reader, value)
    codes = {name: found.tensor for name, found in reader.integers.items()}
    named = {node.tensor for node in graph.nodes if isinstance(node, Quantize | MultiThreshold)}
    moved = {name: found for name, found in reader.moved.items() if name in named}
    before = {name: Tensor(found.source.value, moved_layout(found), name) for name, found in moved.items()}
    padded = {name: found for name, found in reader.padded.items() if name in named}
    before |= {name: Tensor(found.source.value, padded_layout(found), name) for name, found in padded.items()}
    tensors = reader.tensors | codes | before
    zeros = reader.integers | {name: found.integers for name, found in moved.items() if found.integers}
    return ModelFile(
        path=file.path,
        sha256=file.sha256,
        graph=graph,
        layout=layout,
        layouts={name: tensor.layout for name, tensor in tensors.items()},
        values={name: tensor.value.name for name, tensor in tensors.items()},
        zeros={name: found.zero_point for name, found in zeros.items()},
        outputs=tuple(output.onnx_name for output in ends),
        params=count_params(graph),
        macs=count_macs(graph),
        metadata=file.metadata,
        encoding=encoding_of(file, layout, graph),
        integer=file.integer is not None,
        datatype=file.datatypes.get(file.input, ""),
        data=file.metadata.get(DATA),
        reading=reading_of(file),
        classes=classes_of(file),
        notes=(*_how_joined(file.joined), *reader.notes),
        joined=file.joined,
    )


def _how_joined(joined: Joined | None) -> tuple[str, ...]:
    """The note on several inputs."""
    if joined is None:
        return ()
    how = "flattened" if joined.axis is None else "along the channels"
    names = ", ".join(f"'{name}'" for name in joined.shapes)
    return (f"the inputs {names} come as one frame, joined {how}",)


def whole_graph(reader: Reader, source: Value) -> tuple[Graph, list[Tensor]]:
    """The MODEL graph from ``source`` to the file's outputs, all nodes read, and those outputs.

    Codes are put out as they are. Raises UserError where an output cannot be put out.
    """
    file, names = reader.file, Names(first=2, any_case=True)
    if rows := [name for name in file.outputs if name in reader.rows]:
        raise UserError(
            f"the output '{rows[0]}' has positions as its first axis", where=file.path.name, hint=AFTER_ROWS
        )
    tensors = [_output(reader, name) for name in file.outputs]
    outputs = tuple(
        Output(names.fresh(ir_name(name, "out")), tensor.value.name)
        for name, tensor in zip(file.outputs, tensors, strict=True)
    )
    nodes = needed(reader.nodes, {output.value for output in outputs})  # others tell a shape and no more
    return Graph(ir_name(file.path.stem, "net"), source, tuple(nodes), outputs), tensors


def _output(reader: Reader, name: str) -> Tensor:
    """Read the tensor that is the file's output ``name``."""
    file = reader.file
    if name in reader.padded:
        raise UserError(f"the output '{name}' is that of a Pad", where=file.path.name, hint="pad on the host")
    maker = next(node for node in file.nodes if name in node.outputs)
    settle(reader, maker, [name])
    if holds_codes(reader, name):
        found = integers(reader, name)
        output = shifted(reader, maker, found.tensor, np.array([found.zero_point]))
    elif name in reader.tensors:
        output = reader.tensors[name]
    else:
        raise UserError(
            f"the output '{name}' does not depend on the input",
            where=file.path.name,
            hint="what the exporter left out is missing: brevitas' QuantLSTM, for one, needs dynamo=False",
        )
    output = in_file_order(reader, maker, output)
    if output.layout.axes == HEADS:
        raise UserError(
            f"the output '{name}' is parted in heads",
            where=file.path.name,
            hint="transpose and reshape it to (N, tokens, features)",
        )
    if output.value is reader.source:
        raise UserError(f"the output '{name}' is the input", where=file.path.name, hint="leave it out of the outputs")
    if output.layout.order:
        raise UserError(
            f"the output '{name}' is a flattened map; the accelerator puts it out as (height, width, channels)",
            where=file.path.name,
            hint="end the network before the flatten, or behind a linear layer",
        )
    return output


def input_layout(reader: Reader) -> Layout:
    """(N, F) and maps (N, C, W) or (N, C, H, W); channels last where every layer that the input reaches says so."""
    file, shape = reader.file, reader.file.shape[1:]
    if len(shape) == 1:
        return Layout("NC", (1, 1, shape[0]))
    if len(shape) not in (2, 3):
        raise UserError(
            f"input '{file.input}' has {len(shape) + 1} axes",
            where=file.path.name,
            hint="export with an input (N, features) or (N, channels, height, width)",
        )
    spatial_axes = "HW"[3 - len(shape) :]
    if first_orders(file, reader.constants) == {True}:
        sizes, axes = shape, f"N{spatial_axes}C"
    else:
        sizes, axes = (*shape[1:], shape[0]), f"NC{spatial_axes}"
    height = sizes[0] if len(sizes) == 3 else 1
    return Layout(axes, (height, sizes[-2], sizes[-1]))


def read_node(reader: Reader, node: OnnxNode) -> None:
    """Append the IR nodes of ``node``, which depends on the input; UserError when it cannot be built."""
    rows = [name for name in node.inputs if name in reader.rows]
    if rows and node.op not in ("Gemm", "Reshape") and not _alike(reader, node):
        raise reader.file.fault(node, f"it reads '{rows[0]}', whose first axis has positions", AFTER_ROWS)
    _read_node(reader, node)
    if rows and node.op != "Reshape":
        reader.rows.update(node.outputs)


def _read_node(reader: Reader, node: OnnxNode) -> None:
    if node.inputs[0] in reader.left_out and elementwise.left_out_too(node):
        reader.leave_out(node)
        return
    if node.op not in RESHAPES and not (node.op == "MatMul" and all(map(reader.active, node.inputs))):
        if _alike(reader, node) and read_before_move(reader, node, _read_settled):
            return
        if node.op in PICKS and holds_move(reader, node) and rearrange.read_pick(reader, node):
            return
        if read_before_pad(reader, node, _read_settled):
            return
        settle(reader, node, node.inputs)
    _read_settled(reader, node)


def _alike(reader: Reader, node: OnnxNode) -> bool:
    """Return whether ``node`` does the same to every number of its first input."""
    others = [name for name in node.inputs[1:] if name]
    single = all(name in reader.constants and reader.constants.get(name).size == 1 for name in others)
    return single and (node.is_quant or node.op in EACH_NUMBER)


def _read_settled(reader: Reader, node: OnnxNode) -> None:
    """Append the IR nodes of ``node``, whose inputs have a form."""
    if node.is_quant:
        (activations.read_trunc if node.op == "Trunc" else elementwise.read_quantizer)(reader, node)
        return
    if node.op in CONTROL_FLOW:
        raise reader.file.fault(node, "control flow is not supported", "trace the model instead of scripting it")
    handler = HANDLERS.get(node.op)
    last = node.domain == CHANNELS_LAST_DOMAIN and node.op in CHANNELS_LAST_OPS
    if handler is None or (node.domain and not last and not node.is_threshold):
        raise reader.file.fault(node, *why_not(node.op, node.domain, f"Quant, {', '.join(sorted(HANDLERS))}"))
    if node.op in MOVERS and any(holds_codes(reader, name) for name in node.inputs):
        read_moved(reader, node, handler)
    else:
        handler(reader, node)


def count_params(graph: Graph) -> int:
    """Weights and biases of a MODEL-level graph."""
    convs = [node for node in graph.nodes if isinstance(node, RealConv)]
    return sum(node.codes.size + (0 if node.bias is None else node.bias.size) for node in convs)


def count_macs(graph: Graph) -> int:
    """Multiplications of weights in one frame of a MODEL-level graph."""
    convs = [node for node in graph.nodes if isinstance(node, RealConv)]
    return sum(node.output.shape[0] * node.output.shape[1] * node.codes.size for node in convs)
