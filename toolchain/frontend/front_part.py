"""The part of a network in front of its first quantizers, which is left to the host, and the file behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx
from onnx import TensorProto, helper

from toolchain.frontend.host_part import PRODUCTS, active_nodes
from toolchain.frontend.metadata import INPUT
from toolchain.frontend.onnx_file import OnnxFile, OnnxNode
from toolchain.frontend.standard_onnx import NotStandard, folded_model


def starts_behind(file: OnnxFile, refused: Collection[str], built: Collection[str]) -> tuple[str, ...]:
    """The tensors at which the accelerator begins where what makes ``refused`` ones is the host's, in file order.

    All that those nodes depend on is the host's too, and all behind them up to the next quantizers. Empty where a
    layer that can be ``built`` would be among that, or no layer be left, or where the accelerator reads the input too.
    """
    active = active_nodes(file)
    host = {id(node) for node in active if set(refused) & set(node.outputs)}
    while True:
        mine = [node for node in active if id(node) in host]
        made = {file.input, *(name for node in mine for name in node.outputs)}
        read = {name for node in mine for name in node.inputs}
        more = {
            id(node)
            for node in active
            if read & set(node.outputs) or (made & set(node.inputs) and not _rounds(node, made))
        }
        if more <= host:
            break
        host |= more
    left = [node for node in active if id(node) not in host]
    starts = tuple(dict.fromkeys(node.inputs[0] for node in left if node.inputs[0] in made))
    stops = any(node.op in PRODUCTS and set(node.outputs) & set(built) for node in mine)
    whole = not any(node.op in PRODUCTS for node in left) or set(file.outputs) & made
    return () if stops or whole or file.input in starts else starts


def front_of(file: OnnxFile, starts: Collection[str]) -> onnx.ModelProto | None:
    """The model from the input of ``file`` to the tensors ``starts``; None where standard operations express it not."""
    try:
        whole = folded_model(file, tuple(starts), standard=True, batch=None)
    except NotStandard:
        return None
    wanted, nodes = set(starts), []
    for node in reversed(whole.graph.node):
        if wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    del whole.graph.node[:], whole.graph.value_info[:]
    whole.graph.node.extend(reversed(nodes))
    kept = [array for array in whole.graph.initializer if array.name in wanted]
    del whole.graph.initializer[:]
    whole.graph.initializer.extend(kept)
    return whole


def behind(file: OnnxFile, shapes: Mapping[str, tuple[int, ...]]) -> onnx.ModelProto:
    """The model from the tensors of ``shapes`` (N, ...), real numbers, to the outputs of ``file``.

    What its metadata says of the input is left out.
    """
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    given = [value for value in graph.input if value.name in constants]
    makers = {name: node for node in graph.node for name in node.output if name not in shapes}
    wanted: set[str] = set()
    names = [output.name for output in graph.output]
    while names:
        name = names.pop()
        if name in makers and name not in wanted:
            wanted.add(name)
            names += makers[name].input
    nodes = [node for node in graph.node if wanted & set(node.output)]
    first = file.shape[0] or "N"
    del graph.node[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (first, *shape[1:])) for name, shape in shapes.items()
    )
    graph.input.extend(given)
    notes = [note for note in graph.quantization_annotation if note.tensor_name not in shapes]
    del graph.quantization_annotation[:]
    graph.quantization_annotation.extend(notes)
    entries = [entry for entry in model.metadata_props if entry.key != INPUT]
    del model.metadata_props[:]
    model.metadata_props.extend(entries)
    return model


def _rounds(node: OnnxNode, made: Collection[str]) -> bool:
    """Return whether ``node`` quantizes one of the tensors ``made`` and all its other inputs are constants."""
    quantizes = (node.is_quant and node.op != "Trunc") or (node.op == "QuantizeLinear" and not node.domain)
    return quantizes and not set(made) & set(node.inputs[1:])
