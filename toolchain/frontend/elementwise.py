"""Elementwise nodes of an ONNX file: quantizers, activations, arithmetic with constants, and the classifier's end."""

from __future__ import annotations

import numpy as np

from toolchain.frontend.constants import read_quant
from toolchain.frontend.layout import ACTIVE, HEADS, TURNED, Layout, Tensor
from toolchain.frontend.linear import emit_affine, overflow
from toolchain.frontend.moves import in_file_order
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Reader
from toolchain.frontend.tokens import flat_beside, spread_again
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.model import Affine, Clamp, RealAdd, RealExtreme, RealMul, RealSoftmax
from toolchain.ir.types import Quantizer


def read_quantizer(reader: Reader, node: OnnxNode) -> None:
    """Quant, IntQuant or BipolarQuant of an activation."""
    source = reader.tensor(node, axes=ACTIVE)
    rule = read_quant(reader.file, node, reader.constants)
    scale = reader.per_channel(node, rule.scale, source.layout, "scale")
    quantizer = Quantizer(
        scale=tuple(float(s) for s in source.layout.permute(scale)),
        zero_point=rule.zero_point,
        low=rule.low,
        high=rule.high,
        rounding=rule.rounding,
        bipolar=rule.bipolar,
    )
    reader.quantize(node, source, quantizer)


def read_arithmetic(reader: Reader, node: OnnxNode) -> None:
    """Add, Sum, Sub, Mul or Div of an activation with a constant, or Add, Sum, Sub or Mul of two activations."""
    if len(node.inputs) != 2:
        raise reader.file.fault(node, f"{len(node.inputs)} operands", "write it with operations of two")
    active = [index for index in (0, 1) if reader.depends(node.inputs[index])]
    if len(active) == 2:
        _read_add(reader, node)
        return
    index = active[0] if active else 0
    given = reader.constant(node, 1 - index, "constant").astype(np.float64)
    source = _by_position(reader, node, index, given)
    layout, flat = source.layout, flat_beside(reader, node, source, given)
    if flat is None:
        constant = reader.per_channel(node, given, source.layout, "constant")
    else:
        source, constant = flat
    one, zero = np.ones(1), np.zeros(1)
    if node.op in ("Add", "Sum"):
        scale, shift = one, constant
    elif node.op == "Sub":
        scale, shift = (one, -constant) if index == 0 else (-one, constant)
    elif node.op == "Mul":
        scale, shift = constant, zero
    else:
        if index == 1:
            raise reader.file.fault(node, "a constant divided by an activation", "only activation / constant is linear")
        if (constant == 0).any():
            raise overflow(reader, node)
        scale, shift = 1.0 / constant, zero
    emit_affine(reader, node, source, scale, shift)
    if flat is not None:
        spread_again(reader, node, layout)


def _by_position(reader: Reader, node: OnnxNode, index: int, constant: np.ndarray) -> Tensor:
    """Input ``index``, a signal with its positions as channels where the ``constant`` beside it has one a position."""
    source = reader.tensor(node, index, ACTIVE)
    shape = reader.shape(source)
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    along = [axis for axis, size in zip(source.layout.axes, sizes, strict=False) if size > 1]
    if constant.ndim > len(shape) or along != ["W"] or source.layout.axes not in TURNED:
        return source
    return reader.tensor(node, index, (TURNED[source.layout.axes],))


def _read_add(reader: Reader, node: OnnxNode) -> None:
    if node.op == "Mul":
        _read_product(reader, node)
        return
    if node.op not in ("Add", "Sum", "Sub"):
        raise reader.file.fault(
            node, f"{node.op} of two activations", "only their sum, difference, product, Max or Min can be built"
        )
    a, b = _alike(reader, node, "the sum")
    second = _negative(reader, node, b).value if node.op == "Sub" else b.value
    reader.emit(
        node,
        a.layout,
        lambda name, value: RealAdd(
            name=name, inputs=(a.value.name, second.name), outputs=(value,), origin=(node.own_name,)
        ),
    )


def read_extreme(reader: Reader, node: OnnxNode) -> None:
    """Max or Min of two activations, or of an activation and a number."""
    active = [index for index, name in enumerate(node.inputs) if reader.depends(name)]
    if len(node.inputs) != 2 or not active:
        raise reader.file.fault(node, f"{len(node.inputs)} operands", "write it with operations of two")
    if len(active) == 1:
        bound = reader.number(node, 1 - active[0], "bound")
        source, limits = reader.tensor(node, active[0]), (-np.inf, bound) if node.op == "Min" else (bound, np.inf)
        reader.emit(
            node,
            source.layout,
            lambda name, value: Clamp(
                name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,),
                low=limits[0], high=limits[1],
            ),
        )  # fmt: skip
        return
    a, b = _alike(reader, node, f"the {'larger' if node.op == 'Max' else 'smaller'}")
    reader.emit(
        node,
        a.layout,
        lambda name, value: RealExtreme(
            name=name,
            inputs=(a.value.name, b.value.name),
            outputs=(value,),
            origin=(node.own_name,),
            kind=node.op.lower(),
        ),
    )


def _alike(reader: Reader, node: OnnxNode, what: str) -> tuple[Tensor, Tensor]:
    """The two operands of ``node`` in one order of elements; ``what`` it makes of them."""
    a, b = (reader.tensor(node, i, ACTIVE) for i in (0, 1))
    if a.layout.axes in TURNED and reader.shape(a) == reader.shape(b):
        b = reader.tensor(node, 1, (a.layout.axes,))
    if a.layout != b.layout:
        a, b = (in_file_order(reader, node, tensor) for tensor in (a, b))
    if a.layout != b.layout:
        raise reader.file.fault(
            node,
            f"{what} of {reader.shape(a)} ({a.layout.axes}) and {reader.shape(b)} ({b.layout.axes})",
            "both sides must have one shape and one order of elements",
        )
    return a, b


def _negative(reader: Reader, node: OnnxNode, source: Tensor) -> Tensor:
    value = reader.emit(
        node,
        source.layout,
        lambda name, value: Affine(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,),
            scale=-np.ones(1), shift=np.zeros(1),
        ),
        define=False,
    )  # fmt: skip
    return Tensor(value, source.layout, source.onnx_name)


def _read_product(reader: Reader, node: OnnxNode) -> None:
    """The product of equal shapes, or of a map and one position of as many channels (squeeze and excite)."""
    a, b = (reader.tensor(node, i, ACTIVE) for i in (0, 1))
    if a.layout.axes in TURNED and reader.shape(a) == reader.shape(b):
        b = reader.tensor(node, 1, (a.layout.axes,))
    if a.value.shape[:2] == (1, 1):
        a, b = b, a
    alike = (a.layout.axes, a.layout.order) == (b.layout.axes, b.layout.order) and a.value.shape[2] == b.value.shape[2]
    if not alike or b.value.shape[:2] not in ((1, 1), a.value.shape[:2]):
        raise reader.file.fault(
            node,
            f"the product of {reader.shape(a)} ({a.layout.axes}) and {reader.shape(b)} ({b.layout.axes})",
            "both sides must have one shape, or one of them a single position of as many channels",
        )
    reader.emit(
        node,
        a.layout,
        lambda name, value: RealMul(
            name=name, inputs=(a.value.name, b.value.name), outputs=(value,), origin=(node.own_name,)
        ),
    )


def read_power(reader: Reader, node: OnnxNode) -> None:
    """The square or the cube of an activation, as GELU's tanh is written: its products with itself."""
    exponent = reader.number(node, 1, "exponent")
    if exponent not in (2, 3):
        raise reader.file.fault(node, f"a power of {exponent:g}", "only squares and cubes can be built")
    source = reader.tensor(node, 0, ACTIVE)
    if not _behind_a_layer(reader, source):  # the host computes it
        raise reader.file.fault(node, "a power of the network's input", "put a quantizer in front of it")
    power = source.value
    for count in range(2, int(exponent) + 1):
        power = reader.emit(
            node,
            source.layout,
            lambda name, value, power=power: RealMul(  # type: ignore[misc]
                name=name, inputs=(power.name, source.value.name), outputs=(value,), origin=(node.own_name,)
            ),
            define=count == exponent,
        )


def _behind_a_layer(reader: Reader, source: Tensor) -> bool:
    """Return whether a quantizer or a layer stands somewhere in front of ``source``, not sums and products alone."""
    makers = {value.name: made for made in reader.nodes for value in made.outputs}
    names = [source.value.name]
    while names:
        made = makers.get(names.pop())
        if made is not None and not isinstance(made, Affine | Clamp | RealAdd | RealMul):
            return True
        names += made.inputs if made is not None else ()
    return False


def read_identity(reader: Reader, node: OnnxNode) -> None:
    """Identity, and Dropout outside of training."""
    reader.alias(node, reader.tensor(node))


def left_out_too(node: OnnxNode) -> bool:
    """Return whether ``node``, behind a left-out Softmax, is a quantizer, which keeps the classes' order as well."""
    return (node.is_quant and node.op != "BipolarQuant") or node.op in (
        "QuantizeLinear",
        "DequantizeLinear",
        "Identity",
    )


def read_softmax(reader: Reader, node: OnnxNode) -> None:
    """Read a Softmax of tokens; one of classes at the end of the network is left out.

    Quantizers behind that one are left out as well, for they keep the order of the classes.
    """
    source, default = reader.tensor(node, axes=ACTIVE), 1 if reader.file.opset < 13 else -1
    if source.layout.axes in (*TURNED, HEADS):
        _read_shares(reader, node, source, int(node.attributes.get("axis", default)))
        return
    _classes(reader, node, source, default)
    behind, quantized = list(reader.consumers.get(node.outputs[0], [])), False
    while behind:
        consumer = behind.pop()
        if consumer.op in ("ArgMax", "TopK"):
            continue
        if not left_out_too(consumer):
            raise reader.file.fault(
                node,
                f"a {node.op} inside the network",
                "one can be left out at the end, also with a quantizer behind it",
            )
        quantized = quantized or consumer.op != "Identity"
        behind += reader.consumers.get(consumer.outputs[0], [])
    rest = "; nor are quantizers behind it built" if quantized else ""
    reader.leave_out(node, f"it does not change the order of the classes{rest}")


def _read_shares(reader: Reader, node: OnnxNode, source: Tensor, axis: int) -> None:
    """Softmax of tokens along the last axis, before opset 13 of all axes from ``axis`` on."""
    rank = len(source.layout.axes)
    if axis % rank != rank - 1 or node.op != "Softmax":
        raise reader.file.fault(
            node, f"{node.op} along axis {axis} of a tensor {reader.shape(source)}", "take the softmax of the last axis"
        )
    if source.layout.axes != HEADS:
        source = reader.tensor(node, axes=("NWC",))
    heads = source.layout.heads
    reader.emit(
        node,
        source.layout,
        lambda name, value: RealSoftmax(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), heads=heads
        ),
    )


def read_argmax(reader: Reader, node: OnnxNode) -> None:
    """ArgMax over the classes."""
    source = _classes(reader, node, reader.tensor(node), 0)
    _emit_argmax(reader, node, source, 0, last=bool(node.attributes.get("select_last_index", 0)))


def read_topk(reader: Reader, node: OnnxNode) -> None:
    """The index output of a TopK with k = 1."""
    k = node.attributes.get("k")
    if k is None:
        k = reader.number(node, 1, "k")
    largest = bool(node.attributes.get("largest", 1))
    if int(k) != 1 or not largest:
        what = f"the top {int(k)} classes" if largest else "the classes of the smallest values"
        raise reader.file.fault(node, what, "use k=1, largest=1, or take the logits")
    if node.outputs[0] in reader.file.outputs or reader.consumers.get(node.outputs[0]):
        raise reader.file.fault(node, "the values of TopK are used", "use the indices only, or take the logits")
    _emit_argmax(reader, node, _classes(reader, node, reader.tensor(node), -1), 1)


def _classes(reader: Reader, node: OnnxNode, source: Tensor, default_axis: int) -> Tensor:
    """``source`` when ``node`` works along its channels, on a 1x1 map whose elements are in order."""
    rank = len(source.layout.axes)
    axis = int(node.attributes.get("axis", default_axis)) % rank
    if axis != source.layout.channel_axis or source.value.shape[:2] != (1, 1) or source.layout.order:
        raise reader.file.fault(
            node,
            f"{node.op} along axis {axis} of a tensor {reader.shape(source)} ({source.layout.axes})",
            "it must run over the classes of (N, classes)",
        )
    return source


def _emit_argmax(reader: Reader, node: OnnxNode, source: Tensor, output: int, *, last: bool = False) -> None:
    reader.emit(
        node,
        Layout("NC", (1, 1, 1)),
        lambda name, value: ArgMax(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), last=last
        ),
        output,
    )
