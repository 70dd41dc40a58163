"""QONNX file to MODEL-level graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from toolchain.errors import UserError
from toolchain.export import elementwise, linear, spatial
from toolchain.export.layout import Layout
from toolchain.export.onnx_file import OnnxFile, OnnxNode, load_onnx
from toolchain.export.reader import Namer, Reader
from toolchain.ir.graph import Graph
from toolchain.ir.model_ops import RealConv

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
HANDLERS: Mapping[str, Callable[[Reader, OnnxNode], None]] = {
    "Add": elementwise.read_arithmetic,
    "ArgMax": elementwise.read_argmax,
    "AveragePool": spatial.read_pool,
    "BatchNormalization": linear.read_batch_norm,
    "Clip": elementwise.read_clip,
    "Conv": linear.read_conv,
    "Div": elementwise.read_arithmetic,
    "Dropout": elementwise.read_identity,
    "Flatten": spatial.read_flatten,
    "Gemm": linear.read_gemm,
    "GlobalAveragePool": spatial.read_global_average,
    "Identity": elementwise.read_identity,
    "LogSoftmax": elementwise.read_softmax,
    "MatMul": linear.read_matmul,
    "MaxPool": spatial.read_pool,
    "Mul": elementwise.read_arithmetic,
    "ReduceMean": spatial.read_mean,
    "Relu": elementwise.read_relu,
    "Reshape": spatial.read_reshape,
    "Shape": spatial.read_shape,
    "Softmax": elementwise.read_softmax,
    "Squeeze": spatial.read_squeeze,
    "Sub": elementwise.read_arithmetic,
    "TopK": elementwise.read_topk,
    "Transpose": spatial.read_transpose,
    "Unsqueeze": spatial.read_unsqueeze,
}
"""One function an ONNX operation that depends on the input; operations on constants are folded before."""


@dataclass(frozen=True)
class Pixels:
    """Real value of an input pixel: ``pixel * scale + offset``, one entry or one a channel."""

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]


@dataclass(frozen=True)
class ModelFile:
    """A QONNX file as read.

    ``graph`` is at MODEL level. ``layout`` maps host arrays to the graph's input, ``layouts`` every ONNX tensor that
    depends on it to the IR value of the same data (``values`` names it). ``output`` is the ONNX tensor of the graph's
    output; it differs from the file's when a final Softmax is left out. ``params`` counts weights and biases, ``macs``
    multiplications of one frame. ``pixels`` and ``data`` come from the file's metadata.
    """

    path: Path
    sha256: str
    graph: Graph
    layout: Layout
    layouts: Mapping[str, Layout]
    values: Mapping[str, str]
    output: str
    params: int
    macs: int
    metadata: Mapping[str, str]
    pixels: Pixels | None
    data: str | None
    notes: tuple[str, ...]


def read_qonnx(path: Path) -> ModelFile:
    """Read the QONNX file ``path``; UserError names the node and what to do when it cannot be built."""
    file = load_onnx(path)
    reader = Reader(file)
    layout = _input_layout(reader)
    value = reader.start(layout)
    for node in [node for node in file.nodes if not reader.constants.fold(node)]:
        if not reader.constants.fold(node):
            _read_node(reader, node)
    if file.output not in reader.tensors:
        raise UserError(f"the output '{file.output}' does not depend on the input", where=file.path.name)
    output = reader.tensors[file.output]
    if output.layout.order:
        raise UserError(
            f"the output '{file.output}' is a flattened map; the accelerator puts it out as (height, width, channels)",
            where=file.path.name,
            hint="end the network before the flatten, or behind a linear layer",
        )
    graph = Graph(Namer()(file.path.stem, "net"), value, tuple(reader.nodes), output.value.name)
    return ModelFile(
        path=file.path,
        sha256=file.sha256,
        graph=graph,
        layout=layout,
        layouts={name: tensor.layout for name, tensor in reader.tensors.items()},
        values={name: tensor.value.name for name, tensor in reader.tensors.items()},
        output=output.onnx_name,
        params=count_params(graph),
        macs=count_macs(graph),
        metadata=file.metadata,
        pixels=_pixels(file, layout),
        data=file.metadata.get("fpgaflow.data"),
        notes=tuple(reader.notes),
    )


def _input_layout(reader: Reader) -> Layout:
    """(N, F) and (N, C, H, W) as they are; (N, H, W, C) when the file transposes its input to (N, C, H, W) at once."""
    file, shape = reader.file, reader.file.shape[1:]
    if len(shape) == 1:
        return Layout("NC", (1, 1, shape[0]))
    if len(shape) != 3:
        raise UserError(
            f"input '{file.input}' has {len(shape) + 1} axes",
            where=file.path.name,
            hint="export with an input (N, features) or (N, channels, height, width)",
        )
    readers = reader.consumers.get(file.input, [])
    if readers and all(n.op == "Transpose" and list(n.attributes.get("perm", ())) == [0, 3, 1, 2] for n in readers):
        return Layout("NHWC", (shape[0], shape[1], shape[2]))
    return Layout("NCHW", (shape[1], shape[2], shape[0]))


def _read_node(reader: Reader, node: OnnxNode) -> None:
    if node.is_quant:
        (elementwise.read_trunc if node.op == "Trunc" else elementwise.read_quantizer)(reader, node)
        return
    if node.op in CONTROL_FLOW:
        raise reader.file.fault(node, "control flow is not supported", "trace the model instead of scripting it")
    handler = HANDLERS.get(node.op)
    if handler is None or node.domain:
        domain = f" of domain '{node.domain}'" if node.domain else ""
        raise reader.file.fault(
            node,
            f"the operation {node.op}{domain} is not supported",
            f"supported: Quant, {', '.join(sorted(HANDLERS))}",
        )
    handler(reader, node)


def count_params(graph: Graph) -> int:
    """Weights and biases of a MODEL-level graph."""
    convs = [node for node in graph.nodes if isinstance(node, RealConv)]
    return sum(node.codes.size + (0 if node.bias is None else node.bias.size) for node in convs)


def count_macs(graph: Graph) -> int:
    """Multiplications of weights in one frame of a MODEL-level graph."""
    convs = [node for node in graph.nodes if isinstance(node, RealConv)]
    return sum(node.output.shape[0] * node.output.shape[1] * node.codes.size for node in convs)


def _pixels(file: OnnxFile, layout: Layout) -> Pixels | None:
    text = file.metadata.get("fpgaflow.input")
    if text is None:
        return None
    wrong = UserError(
        f"the metadata entry fpgaflow.input is malformed: {text[:80]}",
        where=file.path.name,
        hint='write {"pixel": {"scale": ["1/255"], "offset": ["0"]}}, one entry or one a channel',
    )
    try:
        pixel = json.loads(text)["pixel"]
        scale, offset = (tuple(Fraction(entry) for entry in pixel[key]) for key in ("scale", "offset"))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise wrong from error
    if any(len(entries) not in (1, layout.shape[2]) for entries in (scale, offset)) or min(scale) <= 0:
        raise wrong
    return Pixels(scale, offset)
