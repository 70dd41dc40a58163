"""A QONNX file rewritten with standard ONNX operations only: constants folded, batch axis open.

Every rewritten quantizer does the float32 operations of the QONNX executor in the executor's order, so that both give
the same numbers. What cannot be rewritten that way raises NotStandard.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from toolchain.frontend.codes import MOVERS
from toolchain.frontend.constants import Constants, read_quant, rounding_of
from toolchain.frontend.folding import fold
from toolchain.frontend.geometry import same_pads
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxFile, OnnxNode, channel_axis, data_layout
from toolchain.frontend.qdq_parameters import LINEAR_OPS, code_type
from toolchain.frontend.qoperator import is_on_codes, zero_point_of
from toolchain.ir.names import Names
from toolchain.ir.rounding import Rounding

ROUND_OPS = {Rounding.ROUND: "Round", Rounding.FLOOR: "Floor", Rounding.CEIL: "Ceil"}
ROUNDED = {"Quant": Rounding.ROUND, "IntQuant": Rounding.ROUND, "Trunc": Rounding.FLOOR}
"""The rounding mode of a quantizer that names none."""
MIN_OPSET = 11  # the first with Round, and with Clip's bounds as inputs
IR_VERSION = 8
INDEX_OPS = frozenset({"ArgMax", "TopK", "Shape"})
QUANT_DOMAIN = "qonnx.custom_op.general"


class NotStandard(Exception):
    """A quantizer that standard ONNX operations do not express."""


def folded_model(file: OnnxFile, outputs: Iterable[str], *, standard: bool, batch: int | None) -> onnx.ModelProto:
    """The nodes of ``file`` that depend on its input, everything else as initializers.

    ``standard`` rewrites the quantizers, else they stay QONNX nodes. ``batch`` None leaves the batch axis open.
    """
    constants = Constants(file)
    builder = _Builder(file)
    for node in file.executed:
        if fold(constants, node):
            continue
        if node.domain == CHANNELS_LAST_DOMAIN:
            _channels_first(node, constants, builder)
        elif standard and node.is_threshold:
            _thresholds(node, constants, builder)
        elif standard and node.op == "Trunc" and node.is_quant:
            _standard_trunc(file, node, constants, builder)
        elif standard and node.is_quant:
            _standard_quant(file, node, constants, builder)
        elif node.is_threshold or node.is_quant:
            builder.append(_qonnx_node(file, node))
        elif node.op in LINEAR_OPS and not node.domain:
            _in_bytes(file, node, constants, builder)
        else:
            builder.append(_updated(file, node, constants, builder, batch))
    read = {name for node in builder.nodes for name in node.input if name}
    for name in sorted(name for name in read if name in constants and name not in builder.initializers):
        array = constants.get(name)
        builder.initializers[name] = array.astype(np.float32) if name in constants.quantized else array
    return _spelled_pads(_model(file, builder, outputs, batch))


class _Builder:
    """Nodes and initializers of the new graph: tensors of ``file`` keep their names, what is added gets new ones."""

    def __init__(self, file: OnnxFile) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        tensors = [name for node in (*file.nodes, *file.executed) for name in (*node.inputs, *node.outputs)]
        self._tensors, self._names = Names([file.input, *tensors]), Names()

    def constant(self, name: str, array: object, dtype: type | None = None) -> str:
        """Add an initializer called like ``name``; returns what it is called."""
        name = self.tensor(name)
        self.initializers[name] = np.asarray(array, dtype=dtype)
        return name

    def append(self, node: onnx.NodeProto) -> None:
        """Add ``node``, called like it is."""
        node.name = self._names.fresh(node.name)
        self.nodes.append(node)

    def tensor(self, name: str) -> str:
        """A new tensor called like ``name``."""
        return self._tensors.fresh(name)

    def step(self, op: str, inputs: Iterable[str], name: str, output: str = "", perm: list[int] | None = None) -> str:
        """Add a node called like ``name`` that makes the tensor ``output``, or a new one; returns the tensor's name."""
        output = output or self.tensor(name)
        self.append(helper.make_node(op, list(inputs), [output], name, perm=perm))
        return output


def _model(file: OnnxFile, builder: _Builder, outputs: Iterable[str], batch: int | None) -> onnx.ModelProto:
    source = TensorProto.FLOAT if file.integer is None else _byte(file.integer.signed)
    types = _integer_types(builder, {} if file.integer is None else {file.input: source})
    first = "N" if batch is None else batch
    made = {name for node in builder.nodes if node.domain for name in node.output} - set(outputs)
    graph = helper.make_graph(
        builder.nodes,
        "folded",
        [helper.make_tensor_value_info(file.input, source, (first, *file.shape[1:]))],
        [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in builder.initializers.items()],
        value_info=[helper.make_tensor_value_info(name, kind, None) for name, kind in types.items() if name in made],
    )
    opsets = [helper.make_opsetid("", max(file.opset, MIN_OPSET))]
    second = any(node.op_type == "Trunc" and len(node.input) == 6 for node in builder.nodes)
    for domain in sorted({node.domain for node in builder.nodes if node.domain}):
        opsets.append(helper.make_opsetid(domain, 2 if second and domain == QUANT_DOMAIN else 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def _spelled_pads(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` with numbers in place of the auto_pad of dilated windows, which onnxruntime does not take."""
    given = [(node, {a.name: helper.get_attribute_value(a) for a in node.attribute}) for node in model.graph.node]
    windows = [
        (node, facts)
        for node, facts in given
        if facts.get("auto_pad", b"").startswith(b"SAME") and max(facts.get("dilations", [1])) > 1
    ]
    known = onnx.shape_inference.infer_shapes(model).graph if windows else model.graph
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*known.input, *known.value_info, *known.output)
    }
    shapes |= {array.name: list(array.dims) for array in known.initializer}
    for node, facts in windows:
        sizes, kernel = shapes.get(node.input[0], [])[2:], facts.get("kernel_shape") or shapes[node.input[1]][2:]
        if sizes:
            spans = [(k - 1) * d + 1 for k, d in zip(kernel, facts["dilations"], strict=True)]
            stride, upper = facts.get("strides", [1] * len(sizes)), facts["auto_pad"] == b"SAME_UPPER"
            before, after = same_pads(sizes, spans, stride, upper=upper)
            _drop(node, "auto_pad")
            node.attribute.append(helper.make_attribute("pads", (*before, *after)))
    return model


def _byte(signed: bool) -> int:
    return int(TensorProto.INT8 if signed else TensorProto.UINT8)


def _integer_types(builder: _Builder, known: dict[str, int]) -> dict[str, int]:
    """Element types of the tensors that hold integers, by name, those of ``known`` among them: codes and indices."""
    types = dict(known)
    for node in builder.nodes:
        kind = types.get(node.input[0]) if node.input and node.op_type in (*MOVERS, "Clip") else None
        if node.op_type == "QuantizeLinear":
            zero = builder.initializers.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            stated = [a.i for a in node.attribute if a.name == "output_dtype" and a.i]
            kind = stated[0] if stated else int(TensorProto.UINT8)
            kind = kind if zero is None else helper.np_dtype_to_tensor_dtype(zero.dtype)
        elif is_on_codes(node):
            made = builder.initializers.get(zero_point_of(node))
            kind = None if made is None else helper.np_dtype_to_tensor_dtype(made.dtype)
        elif node.op_type in INDEX_OPS:
            kind = int(TensorProto.INT64)
        if kind is not None:
            types |= dict.fromkeys(node.output, kind)
    return types


def _updated(
    file: OnnxFile, node: OnnxNode, constants: Constants, builder: _Builder, batch: int | None
) -> onnx.NodeProto:
    """A standard node as the new opset writes it, for any batch."""
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.name = node.name
    if node.op == "Reshape" and node.input(1) in constants and batch != max(file.shape[0], 1):
        _open_batch(file, node, constants, builder, proto)
    elif node.op == "Concat" and batch != 1 and any(name in constants for name in node.inputs):
        _open_constants(node, constants, builder, proto, batch)
    elif node.op == "Conv" and node.input(2) in constants:
        bias = constants.get(node.input(2)).astype(np.float32).reshape(-1)
        channels = constants.get(node.input(1)).shape[0]
        proto.input[2] = builder.constant(f"{node.name}:bias", np.broadcast_to(bias, (channels,)).copy())
    elif node.op == "BatchNormalization":
        _drop(proto, "spatial")
    elif node.op == "Clip" and file.opset < MIN_OPSET:
        for key in ("min", "max"):
            bound = node.attributes.get(key)
            array = np.float32(bound if bound is not None else {"min": -np.inf, "max": np.inf}[key])
            proto.input.append(builder.constant(f"{node.name}:{key}", np.asarray(array)))
            _drop(proto, key)
    elif node.op == "TopK" and "k" in node.attributes:
        proto.input.append(builder.constant(f"{node.name}:k", np.asarray([node.attributes["k"]], dtype=np.int64)))
        _drop(proto, "k")
    elif node.op == "Slice" and "starts" in node.attributes:
        for key in ("starts", "ends", "axes"):
            if key in node.attributes:
                given = np.asarray(node.attributes[key], dtype=np.int64)
                proto.input.append(builder.constant(f"{node.name}:{key}", given))
                _drop(proto, key)
    elif node.op == "Upsample" or (node.op == "Resize" and file.opset < MIN_OPSET):
        return _new_resize(node, builder)
    return proto


def _new_resize(node: OnnxNode, builder: _Builder) -> onnx.NodeProto:
    """Upsample, or Resize of opset 10, as later opsets write it."""
    scales = node.input(1)
    if "scales" in node.attributes:
        scales = builder.constant(f"{node.name}:scales", np.asarray(node.attributes["scales"], dtype=np.float32))
    mode = node.attributes.get("mode", b"nearest").decode("utf-8", "replace")
    rules = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "mode": mode}
    roi = builder.constant(f"{node.name}:roi", np.zeros(0, dtype=np.float32))  # opset 11 demands one
    return helper.make_node("Resize", [node.inputs[0], roi, scales], [node.outputs[0]], node.name, **rules)


def _open_batch(file: OnnxFile, node: OnnxNode, constants: Constants, builder: _Builder, proto: onnx.NodeProto) -> None:
    """Let a Reshape whose target names the file's batch keep the batch it is given."""
    target = constants.get(node.inputs[1]).copy()
    if not target.size or target[0] != max(file.shape[0], 1):
        return
    if -1 not in target:
        target[0] = -1
    elif 0 not in target:
        _drop(proto, "allowzero")
        target[0] = 0  # the batch of the input
    proto.input[1] = builder.constant(f"{node.name}:shape", target)


def _open_constants(
    node: OnnxNode, constants: Constants, builder: _Builder, proto: onnx.NodeProto, batch: int | None
) -> None:
    """Give the constants that a Concat joins to activations, not to sizes, as many frames as those have."""
    name, active = node.name, next(name for name in node.inputs if name not in constants)
    for i, operand in enumerate(node.inputs):
        if operand not in constants or constants.get(operand).ndim < 2:
            continue
        array = constants.get(operand)[:1].astype(np.float32)
        if batch is not None:
            proto.input[i] = builder.constant(operand, np.repeat(array, batch, axis=0))
            continue
        ends = [builder.constant(f"{name}:{end}", [end], np.int64) for end in (0, 1)]
        frames = builder.step("Slice", [builder.step("Shape", [active], f"{name}:shape"), *ends], f"{name}:frames")
        rest = builder.constant(f"{name}:rest", array.shape[1:], np.int64)
        shape = builder.tensor(f"{name}:sizes")
        builder.append(helper.make_node("Concat", [frames, rest], [shape], shape, axis=0))
        proto.input[i] = builder.step("Expand", [builder.constant(operand, array), shape], f"{name}:{i}")


def _drop(proto: onnx.NodeProto, attribute: str) -> None:
    kept = [a for a in proto.attribute if a.name != attribute]
    del proto.attribute[:]
    proto.attribute.extend(kept)


def _qonnx_node(file: OnnxFile, node: OnnxNode) -> onnx.NodeProto:
    """A quantizer as the executor takes it: attributes that older exports leave out, rounding modes in its words."""
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.name, proto.domain = node.name, QUANT_DOMAIN
    if node.op in ("Quant", "IntQuant"):
        for key, default in (("signed", 1), ("narrow", 0)):
            if key not in node.attributes:
                proto.attribute.append(helper.make_attribute(key, default))
    if node.op in ROUNDED:
        _drop(proto, "rounding_mode")
        mode = rounding_of(file, node, ROUNDED[node.op])
        proto.attribute.append(helper.make_attribute("rounding_mode", mode.value))
    return proto


def _in_bytes(file: OnnxFile, node: OnnxNode, constants: Constants, builder: _Builder) -> None:
    """QuantizeLinear or DequantizeLinear; codes of fewer than 8 bits as bytes in their range.

    The executor passes tensors on as numpy arrays, which onnxruntime makes and takes of whole bytes only.
    """
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.name = node.name
    zero = constants.get(node.inputs[2]) if node.input(2) else None
    kind = code_type(file, node, zero)
    if kind.bits >= 8:
        builder.append(proto)
        return
    byte, number = np.int8 if kind.signed else np.uint8, _byte(kind.signed)
    _drop(proto, "output_dtype")
    if zero is not None:
        proto.input[2] = builder.constant(f"{node.name}:zero", zero.astype(byte))
    elif node.op == "QuantizeLinear":
        proto.attribute.append(helper.make_attribute("output_dtype", number))
    if node.op == "QuantizeLinear":
        proto.output[0] = builder.tensor(f"{node.name}:byte")
    builder.append(proto)
    if node.op == "QuantizeLinear":
        ends = [builder.constant(f"{node.name}:{key}", np.asarray(getattr(kind, key), byte)) for key in ("min", "max")]
        builder.step("Clip", [proto.output[0], *ends], f"{node.name}:clip", node.outputs[0])


def _standard_quant(file: OnnxFile, node: OnnxNode, constants: Constants, builder: _Builder) -> None:
    rule = read_quant(file, node, constants)
    wide = node.op != "BipolarQuant" and rule.zero.any() and not _stays_float32(constants.get(node.inputs[2]))
    if wide or rule.scale.dtype != np.float32 or (not rule.bipolar and rule.rounding not in ROUND_OPS):
        raise NotStandard(node.name)
    name = node.name
    scale = builder.constant(f"{name}:scale", rule.scale)

    def number(what: str, value: float) -> str:
        return builder.constant(f"{name}:{what}", value, np.float32)

    def step(op: str, *inputs: str) -> str:
        return builder.step(op, inputs, f"{name}:{op}")

    x = node.inputs[0] if node.op == "BipolarQuant" else step("Div", node.inputs[0], scale)
    if rule.bipolar:
        x = step("Where", step("Less", x, number("zero", 0.0)), number("minus", -1.0), number("plus", 1.0))
    else:
        zero = builder.constant(f"{name}:zero", rule.zero, np.float32) if rule.zero.any() else ""
        x = step("Add", x, zero) if zero else x
        x = step(ROUND_OPS[rule.rounding], step("Clip", x, number("low", rule.low), number("high", rule.high)))
        x = step("Sub", x, zero) if zero else x
    builder.step("Mul", (x, scale), f"{name}:Mul", node.outputs[0])


def _thresholds(node: OnnxNode, constants: Constants, builder: _Builder) -> None:
    """A MultiThreshold as one comparison a threshold; an axis of them would take as many times the memory."""
    rows, named = constants.get(node.inputs[1]), data_layout(node)
    if (rows.astype(np.float32) != rows).any() or (len(rows) > 1 and not named):
        raise NotStandard(node.name)
    spread = (-1, *[1] * (len(named) - 1 - channel_axis(named))) if len(rows) > 1 else ()
    name, total = node.name, ""

    def number(what: str, value: float) -> str:
        return builder.constant(f"{name}:{what}", value, np.float32)

    def step(op: str, what: str, *inputs: str) -> str:
        return builder.step(op, inputs, f"{name}:{what}")

    zero, one = number("0", 0.0), number("1", 1.0)
    for i, column in enumerate(rows.astype(np.float32).T):
        limit = builder.constant(f"{name}:limit{i}", column.reshape(spread))
        reached = step("Where", f"reached{i}", step("Less", f"below{i}", node.inputs[0], limit), zero, one)
        total = step("Add", f"total{i}", total, reached) if total else reached
    scale, bias = (node.attributes.get(key, default) for key, default in (("out_scale", 1.0), ("out_bias", 0.0)))
    scaled = step("Mul", "scaled", total, number("scale", scale))
    builder.step("Add", (scaled, number("bias", bias)), name, node.outputs[0])


def _standard_trunc(file: OnnxFile, node: OnnxNode, constants: Constants, builder: _Builder) -> None:
    """The steps of the executor's Trunc for a zero point of 0."""
    numbers = [np.asarray(constants.get(name)) for name in node.inputs[1:]]
    rounding = rounding_of(file, node, Rounding.FLOOR)
    scale, bits = numbers[0], int(numbers[-1].ravel()[0])
    if any(n.size != 1 or n.dtype != np.float32 for n in numbers) or numbers[1].any() or rounding not in ROUND_OPS:
        raise NotStandard(node.name)
    second = len(numbers) == 5
    shift = np.round(np.log2(numbers[3] / scale)) if second else numbers[2] - numbers[3]
    steps: list[tuple[str, list[float | np.ndarray]]] = [
        ("Div", [scale]),
        ("Round", []),
        ("Div", [2.0 ** shift.ravel()[0]]),
    ]
    if second:
        signed, narrow = bool(node.attributes.get("signed", 1)), bool(node.attributes.get("narrow", 0))
        low = -(1 << bits - 1) + narrow if signed else 0
        steps.append(("Clip", [low, (1 << bits - 1) - 1 if signed else (1 << bits) - 1 - narrow]))
    steps += [(ROUND_OPS[rounding], []), ("Mul", [numbers[3] if second else scale])]
    at = node.inputs[0]
    for index, (op, values) in enumerate(steps):
        given = [
            builder.constant(f"{node.name}:{index}:{i}", np.asarray(v, dtype=np.float32).reshape(()))
            for i, v in enumerate(values)
        ]
        last = node.outputs[0] if index == len(steps) - 1 else ""
        at = builder.step(op, (at, *given), f"{node.name}:{index}", last)


def _channels_first(node: OnnxNode, constants: Constants, builder: _Builder) -> None:
    """A channels-last node between two Transposes, as its executor runs it."""
    name, kernel = node.name, node.attributes.get("kernel_shape", (1, 1))
    rank = len(kernel) + 2
    inner = onnx.NodeProto()
    inner.CopyFrom(node.proto)
    inner.name, inner.domain = name, ""
    forth, back = [0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]
    inner.input[0] = builder.step("Transpose", [node.inputs[0]], f"{name}:first", perm=forth)
    if node.op == "Conv":
        weight = np.moveaxis(constants.get(node.inputs[1]).astype(np.float32), -1, 1)
        inner.input[1] = builder.constant(f"{name}:weight", np.ascontiguousarray(weight))
    inner.output[0] = builder.tensor(f"{name}:last")
    builder.append(inner)
    builder.step("Transpose", [inner.output[0]], f"{name}:last", node.outputs[0], perm=back)


def _stays_float32(zero_point: np.ndarray) -> bool:
    return np.result_type(np.float32, zero_point.dtype) == np.float32
