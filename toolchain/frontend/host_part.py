"""The part of a network behind its last layer, which is left to the host."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import onnx
from onnx import TensorProto, helper

from toolchain.errors import UserError
from toolchain.frontend.constants import Constants
from toolchain.frontend.folding import fold
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.standard_onnx import NotStandard, folded_model

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
LAYERS = PRODUCTS | {"QuantizeLinear", "DequantizeLinear"}
"""Operations that belong to the network proper: the accelerator computes them, and all that they read."""
VIEWS = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


def behind_layers(file: OnnxFile) -> frozenset[str]:
    """Outputs of the nodes that depend on the input and that no layer and no quantizer reads, nor is one of them."""
    needed: set[str] = set()
    found = set()
    for node in reversed(active_nodes(file)):
        if node.is_quant or node.is_threshold or node.op in LAYERS or needed & set(node.outputs):
            needed |= set(node.inputs)
        else:
            found |= set(node.outputs)
    return frozenset(found)


def ending_at(file: OnnxFile, outputs: Sequence[str]) -> OnnxFile:
    """``file`` with other tensors as its outputs, and only the nodes that these depend on."""
    if tuple(outputs) == file.outputs:
        return file
    nodes, executed = (_reaching(nodes, set(outputs)) for nodes in (file.nodes, file.executed))
    return replace(file, nodes=nodes, executed=executed, outputs=tuple(outputs))


def without_labels(file: OnnxFile) -> OnnxFile:
    """``file`` as far as the only output that is a tensor of real numbers, beside which skl2onnx puts the label."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in file.model.graph.output}
    real = [name for name in file.outputs if kinds.get(name) == TensorProto.FLOAT]
    return ending_at(file, real) if len(real) == 1 else file


def frontier(file: OnnxFile, host: Collection[str]) -> tuple[str, ...]:
    """The tensors at which the accelerator ends where the nodes that make ``host``, and all behind them, are not its.

    Views in front of those are the host's too: nothing is lost by leaving them out.
    """
    tail, active = behind_layers(file), active_nodes(file)
    left = set(host)
    for node in active:
        if left & set(node.inputs):
            left |= set(node.outputs)
    for node in reversed(active):
        read_by = [other for other in active if set(node.outputs) & set(other.inputs)]
        ends = all(left & set(other.outputs) for other in read_by) and not set(node.outputs) & set(file.outputs)
        if node.op in VIEWS and ends and set(node.outputs) <= tail:
            left |= set(node.outputs)
    made = {name for node in active for name in node.outputs} - left
    read = [name for node in active if left & set(node.outputs) for name in node.inputs if name in made]
    own = [name for name in file.outputs if name in made]
    return tuple(dict.fromkeys([*own, *read]))


def rest_of(file: OnnxFile, ends: dict[str, tuple[int, ...]]) -> onnx.ModelProto | None:
    """The model from the tensors ``ends``, of these shapes (N, ...) with any N, to the outputs of ``file``.

    None where nothing is left, or where standard operations do not express it.
    """
    if set(file.outputs) <= set(ends):
        return None
    try:
        whole = folded_model(file, file.outputs, standard=True, batch=None)
    except NotStandard:
        return None
    wanted, nodes = set(file.outputs) - set(ends), []
    for node in reversed(whole.graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted = (wanted | set(node.input)) - set(ends)
    names = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes[::-1],
        "rest",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", *shape[1:]))
            for name, shape in ends.items()
            if name in names
        ],
        [output for output in whole.graph.output if output.name not in ends],
        [array for array in whole.graph.initializer if array.name in names],
    )
    return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)


def active_nodes(file: OnnxFile) -> list[OnnxNode]:
    """The nodes of ``file`` that are not computed from constants, or cannot be."""
    constants, found = Constants(file), []
    for node in file.nodes:
        try:
            folded = fold(constants, node)
        except UserError:
            folded = False
        if not folded:
            found.append(node)
    return found


def _reaching(nodes: Sequence[OnnxNode], wanted: set[str]) -> tuple[OnnxNode, ...]:
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted = wanted | set(node.inputs)
    return tuple(reversed(kept))


def part_bytes(part: onnx.ModelProto) -> bytes:
    """``part`` as its file has it."""
    return bytes(part.SerializeToString(deterministic=True))
