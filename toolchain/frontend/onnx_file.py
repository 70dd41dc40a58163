"""Loading an ONNX file into a small checked form: nodes in topological order, initializers, one input, outputs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import defs, external_data_helper, helper, numpy_helper

from toolchain.errors import UserError
from toolchain.frontend.qoperator import MICROSOFT, QOperators
from toolchain.frontend.recurrent import unroll
from toolchain.frontend.several_inputs import Joined, join_inputs
from toolchain.frontend.torch_names import module_names
from toolchain.frontend.unsupported import quantized_otherwise
from toolchain.frontend.written_norms import WrittenNorms
from toolchain.ir.types import QInt

QUANT_DOMAINS = frozenset({"", "qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})
QUANT_OPS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc"})
CHANNELS_LAST_DOMAIN = "qonnx.custom_op.channels_last"
CODE_OPS = frozenset({"DequantizeLinear", "MultiThreshold", "QuantizeLinear"})
"""Operations besides Quant that make a network quantized."""
SAME_ELSEWHERE = {
    ("com.microsoft", "DequantizeLinear"): "DequantizeLinear",
    ("com.microsoft", "QuantizeLinear"): "QuantizeLinear",
    ("com.vai.quantize", "VitisDequantizeLinear"): "DequantizeLinear",
    ("com.vai.quantize", "VitisQuantizeLinear"): "QuantizeLinear",
    ("com.amd.quark", "ExtendedDequantizeLinear"): "DequantizeLinear",
    ("com.amd.quark", "ExtendedQuantizeLinear"): "QuantizeLinear",
}
"""Standard operations that quantizers put in a domain of their own, for types that the opset lacks."""
INPUT_TYPES = {
    onnx.TensorProto.FLOAT: None,
    onnx.TensorProto.UINT8: QInt(8, False),
    onnx.TensorProto.INT8: QInt(8, True),
}
"""The element types that the network's input may have: real numbers (None), or integers."""
DATATYPE = "finn_datatype"
MIN_OPSET = 7
MAX_BYTES = 2**31 - 1  # protobuf cannot hold more


@dataclass(frozen=True)
class OnnxNode:
    """One ONNX node; ``name`` is never empty, trailing absent inputs are cut off, other absent ones are "".

    ``name`` is the path of the module that the node comes from where torch has noted it, else ``own_name``. ``label``
    tells it from every other node of the file: where names are absent or repeated, by what it makes.
    """

    name: str
    own_name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: onnx.NodeProto
    label: str

    @property
    def is_quant(self) -> bool:
        """Whether this is one of QONNX's quantizers."""
        return self.op in QUANT_OPS and self.domain in QUANT_DOMAINS

    @property
    def is_threshold(self) -> bool:
        """Whether this is FINN's MultiThreshold, in any of the domains in which its writers put it."""
        return self.op == "MultiThreshold" and self.domain in QUANT_DOMAINS

    def input(self, index: int) -> str:
        """Name of an optional input, "" when absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


def data_layout(node: OnnxNode) -> str:
    """The axes that a MultiThreshold names, e.g. "NHWC"; empty where it names none."""
    return text_of(node, "data_layout", "")


def text_of(node: OnnxNode, name: str, default: str) -> str:
    """An attribute that is a text."""
    value = node.attributes.get(name, default)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def channel_axis(axes: str) -> int:
    """Position of the channels in ``axes``; the second where they are not named, as the executor takes it."""
    return axes.index("C") if "C" in axes else 1


@dataclass(frozen=True)
class OnnxFile:
    """A parsed file. ``shape`` is the input's with the batch axis first; a batch of 0 stands for any.

    ``executed`` are ``nodes`` with the file's own operations in place of what is read instead of them: of those on
    codes, and of norms that are written as several.
    ``joined`` tells how several inputs became the one that ``model`` has here. ``fixed`` are the outputs that depend on
    no input and are left out: scales and bits that Brevitas' exporter writes beside a result.
    ``integer`` is the input's type where it is not float32. ``datatypes`` holds the QONNX datatype that the file notes
    beside a tensor, by the tensor's name.
    """

    path: Path
    sha256: str
    model: onnx.ModelProto
    opset: int
    nodes: tuple[OnnxNode, ...]
    executed: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    input: str
    shape: tuple[int, ...]
    integer: QInt | None
    outputs: tuple[str, ...]
    metadata: Mapping[str, str]
    datatypes: Mapping[str, str]
    joined: Joined | None = None
    fixed: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """The only output."""
        (name,) = self.outputs
        return name

    def fault(self, node: OnnxNode, what: str, hint: str = "") -> UserError:
        """A UserError that names ``node`` and this file."""
        return UserError(what, where=f"{self.path.name}, {node.label}", hint=hint)


def load_onnx(path: Path, *, quantized: bool = True) -> OnnxFile:
    """Parse and check ``path``; every fault of the file is a UserError, also that it is not ``quantized``."""
    path = Path(path)
    data = _read_bytes(path)
    return checked(path, _parse(path, data), hashlib.sha256(data).hexdigest(), quantized=quantized)


def checked(path: Path, model: onnx.ModelProto, sha256: str, *, quantized: bool = True) -> OnnxFile:
    """``model`` as ``load_onnx`` has it, which changes it: of the file ``path``, whose digest is ``sha256``."""
    graph = model.graph
    opset = _opset(path, model)
    joined = join_inputs(path, model, opset)
    unroll(model, opset)
    initializers = {tensor.name for tensor in model.graph.initializer}
    input_name, shape, integer = _only_input(path, model, initializers)
    every = _nodes(path, model, opset)
    fixed = _leave_out_fixed(graph, every, initializers)
    outputs = tuple(output.name for output in graph.output)
    if not outputs or len(set(outputs)) < len(outputs):
        what = "names an output twice" if outputs else "has no output"
        raise UserError(f"the network {what}", where=path.name, hint="export the model again")
    _demand_single(path, every, {input_name, *initializers})
    known = {input_name, *initializers}
    read, whole = _in_qdq(path, model, opset, every)
    nodes = _sorted(path, _reaching(read, outputs), known, outputs)
    real = [name for node in nodes if node.op == "DequantizeLinear" for name in node.outputs]
    executed = _sorted(path, _reaching(whole, (*outputs, *real)), known, outputs)
    constants = _constants(path, model, {name for node in (*nodes, *executed) for name in node.inputs})
    nodes = WrittenNorms(nodes, constants, outputs, _norm).joined()
    if quantized and not any(n.is_quant or n.op in CODE_OPS or quantized_otherwise(n.op, n.domain) for n in nodes):
        raise UserError(
            "this is not a QONNX file: it holds no Quant node",
            where=path.name,
            hint="quantize it first: fpgaflow quantize FILE --images x.npy, or train it with quantizers",
        )
    return OnnxFile(
        path=path,
        sha256=sha256,
        model=model,
        opset=opset,
        nodes=nodes,
        executed=executed,
        constants=constants,
        input=input_name,
        shape=shape,
        integer=integer,
        outputs=outputs,
        metadata={entry.key: entry.value for entry in model.metadata_props},
        datatypes={
            note.tensor_name: entry.value
            for note in graph.quantization_annotation
            for entry in note.quant_parameter_tensor_names
            if entry.key == DATATYPE
        }
        | ({} if integer is None else {input_name: f"{'' if integer.signed else 'U'}INT{integer.bits}"}),
        joined=joined,
        fixed=fixed,
    )


def _leave_out_fixed(graph: onnx.GraphProto, nodes: list[OnnxNode], initializers: set[str]) -> tuple[str, ...]:
    """Take the outputs that initializers alone make out of ``graph``, unless no other is left; return their names."""
    known, before = set(initializers), -1
    while len(known) > before:
        before = len(known)
        known.update(name for node in nodes if known.issuperset(filter(None, node.inputs)) for name in node.outputs)
    fixed = tuple(output.name for output in graph.output if output.name in known)
    if len(fixed) == len(graph.output):
        return ()
    for index in reversed(range(len(graph.output))):
        if graph.output[index].name in fixed:
            del graph.output[index]
    return fixed


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError("the file is larger than 2 GiB", where=str(path), hint="no network of that size fits")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the model: {error.strerror}", where=str(path)) from error


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    no_onnx = UserError(
        "this is not an ONNX file", where=str(path), hint="give a .onnx file, or the folder of a finished run"
    )
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise no_onnx from error
    if not model.graph.node:
        raise no_onnx
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UserError(
            f"the weights kept outside the file cannot be read: {error}",
            where=str(path),
            hint="put the external data file beside the model, or save the model as one file",
        ) from error
    return model


def _opset(path: Path, model: onnx.ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    latest = defs.onnx_opset_version()
    if not versions or not MIN_OPSET <= versions[0] <= latest:
        found = f"opset {versions[0]}" if versions else "no opset"
        raise UserError(
            f"the file is written for {found}", where=path.name, hint=f"export it with opset {MIN_OPSET} to {latest}"
        )
    return int(versions[0])


def _constants(path: Path, model: onnx.ModelProto, used: set[str]) -> dict[str, np.ndarray]:
    """The ``used`` initializers; those that no node reads are left alone, however large."""
    if model.graph.sparse_initializer:
        raise UserError("sparse initializers are not supported", where=path.name, hint="save the weights dense")
    constants = {}
    for tensor in model.graph.initializer:
        if tensor.name not in used:
            continue
        try:
            constants[tensor.name] = numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"initializer '{tensor.name}' cannot be read: {error}", where=path.name) from error
    return constants


def _only_input(path: Path, model: onnx.ModelProto, constants: set[str]) -> tuple[str, tuple[int, ...], QInt | None]:
    inputs = [i for i in model.graph.input if i.name not in constants]
    if not inputs:
        raise UserError("the network has no input", where=path.name, hint="export a module that reads a tensor")
    info = inputs[0].type.tensor_type
    if info.elem_type not in INPUT_TYPES:
        kind = onnx.TensorProto.DataType.Name(info.elem_type).lower()
        raise UserError(
            f"input '{inputs[0].name}' is {kind}", where=path.name, hint="export an input of float32, uint8 or int8"
        )
    shape = tuple(int(d.dim_value) for d in info.shape.dim)
    if len(shape) < 2 or any(size <= 0 for size in shape[1:]):
        shown = ", ".join(str(d.dim_value or d.dim_param or "?") for d in info.shape.dim)
        raise UserError(
            f"input '{inputs[0].name}' has the shape ({shown}); only the batch may be left open",
            where=path.name,
            hint="export with a fixed image size, e.g. (1, 3, 32, 32)",
        )
    return inputs[0].name, (max(shape[0], 0), *shape[1:]), INPUT_TYPES[info.elem_type]


def _nodes(path: Path, model: onnx.ModelProto, opset: int) -> list[OnnxNode]:
    nodes = []
    given = Counter(proto.name for proto in model.graph.node)
    for index, (proto, module) in enumerate(zip(model.graph.node, module_names(model.graph.node), strict=True)):
        inputs = list(proto.input)
        while inputs and not inputs[-1]:
            inputs.pop()
        texts = [proto.domain, proto.op_type, proto.name, *inputs, *proto.output]
        if not all(isinstance(text, str) for text in texts):  # protobuf gives bytes when they are no UTF-8
            raise UserError(f"the names of node {index} are not UTF-8", where=path.name, hint="export the model again")
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        name = proto.name or f"{proto.op_type}_{index}"
        label = f"node '{module or name}' ({proto.op_type}{f', ONNX {name}' if module else ''})"
        if not proto.name or given[proto.name] > 1:
            label += f" that makes '{''.join(proto.output[:1])}'"
        attributes = _attributes(path, proto, label, domain, opset)
        proto, domain = _standard(proto, domain)
        tensors = tuple(inputs), tuple(proto.output)
        nodes.append(OnnxNode(module or name, name, proto.op_type, domain, *tensors, attributes, proto, label))
    return nodes


def _standard(proto: onnx.NodeProto, domain: str) -> tuple[onnx.NodeProto, str]:
    """``proto`` as onnxruntime knows it, and its domain: that of the standard operation, where it is one."""
    op = SAME_ELSEWHERE.get((domain, proto.op_type))
    if op is None:
        return proto, domain
    same = onnx.NodeProto()
    same.CopyFrom(proto)
    same.op_type, same.domain = op, MICROSOFT
    return same, ""


def _in_qdq(
    path: Path, model: onnx.ModelProto, opset: int, nodes: list[OnnxNode]
) -> tuple[list[OnnxNode], list[OnnxNode]]:
    """``nodes`` with operations on codes written as Q/DQ, and as they are beside their dequantized operands."""
    operators = QOperators([node.proto for node in nodes], model.graph.initializer)
    read: list[OnnxNode] = []
    executed: list[OnnxNode] = []
    for node in nodes:
        operands, operation = (
            [
                replace(node, op=proto.op_type, domain="", inputs=tuple(proto.input), outputs=tuple(proto.output),
                        attributes=_attributes(path, proto, node.label, MICROSOFT, opset), proto=proto)
                for proto in protos
            ]
            for protos in operators.written(node.proto)
        )  # fmt: skip
        read += operands + (operation or [node])
        executed += [*operands, node, *(part for part in operation if part.op == "DequantizeLinear")]
    return read, executed


def _norm(last: OnnxNode, op: str, source: str, facts: Mapping[str, Any]) -> OnnxNode:
    """The norm ``op`` of ``source`` in the place of the ``last`` node of those that it is written as."""
    proto = helper.make_node(op, [source], list(last.outputs), last.own_name, **facts)
    return replace(last, op=op, inputs=(source,), attributes=facts, proto=proto)


def _attributes(path: Path, proto: onnx.NodeProto, label: str, domain: str, opset: int) -> dict[str, Any]:
    """Values of a node's attributes, which must be of the names and types that the operation's schema has."""
    known = None
    if not domain and defs.has(proto.op_type, opset):
        known = defs.get_schema(proto.op_type, opset).attributes
    attributes = {}
    for attribute in proto.attribute:
        wrong = UserError(
            f"the attribute '{attribute.name}' does not fit the operation",
            where=f"{path.name}, {label}",
            hint="the file is damaged or not written for its opset: export it again",
        )
        try:
            kind = getattr(defs.OpSchema.AttrType, onnx.AttributeProto.AttributeType.Name(attribute.type), None)
            if known is not None and (attribute.name not in known or known[attribute.name].type != kind):
                raise wrong
            attributes[attribute.name] = helper.get_attribute_value(attribute)
        except ValueError as error:
            raise wrong from error
    return attributes


def _demand_single(path: Path, nodes: list[OnnxNode], given: set[str]) -> None:
    """UserError where a tensor has two makers."""
    made = set(given)
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in made:
                raise UserError(
                    f"tensor '{name}' is defined twice",
                    where=f"{path.name}, {node.label}",
                    hint="export the model again",
                )
            made.add(name)


def _reaching(nodes: list[OnnxNode], outputs: Sequence[str]) -> list[OnnxNode]:
    """The nodes ``outputs`` depend on, in file order."""
    producers = {name: node for node in nodes for name in node.outputs if name}
    wanted, open_names = set(), list(outputs)
    while open_names:
        node = producers.get(open_names.pop())
        if node is not None and id(node) not in wanted:
            wanted.add(id(node))
            open_names.extend(node.inputs)
    return [node for node in nodes if id(node) in wanted]


def _sorted(path: Path, nodes: list[OnnxNode], known: set[str], outputs: Sequence[str]) -> tuple[OnnxNode, ...]:
    """``nodes`` in an order where every input is defined before it is read; stable for a file already in order."""
    made = {name for node in nodes for name in node.outputs if name}
    for node in nodes:
        for name in node.inputs:
            if name and name not in made and name not in known:
                raise UserError(
                    f"tensor '{name}' is read but never defined",
                    where=f"{path.name}, {node.label}",
                    hint="the file is damaged or its initializer is missing: export it again",
                )
    for output in outputs:
        if output not in made:
            raise UserError(f"no node computes the output '{output}'", where=path.name, hint="export the model again")
    done, ready, pending = set(known), [], nodes
    while pending:
        later = []
        for node in pending:
            if all(not name or name in done for name in node.inputs):
                ready.append(node)
                done.update(node.outputs)
            else:
                later.append(node)
        if len(later) == len(pending):
            raise UserError(
                "the graph has a cycle",
                where=f"{path.name}, {later[0].label}",
                hint="only feed-forward networks can be built",
            )
        pending = later
    return tuple(ready)
