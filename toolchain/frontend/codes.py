"""Tensors of integers in an ONNX file: what QuantizeLinear puts out, moved before it is dequantized, and such inputs.

In the IR such a tensor is a real value as every other: the code less its zero point. Moving elements and taking the
largest are the same on codes and on what they stand for; DequantizeLinear multiplies by the scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.layout import Tensor
from toolchain.frontend.moves import by_head, materialized, moved_on, moved_shape
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Codes, Integers, Moved, Reader
from toolchain.ir.ops.model import Affine
from toolchain.ir.types import Quantizer

MOVERS = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Resize",
        "Shape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operations that only move elements, or pick the largest."""
_FORMS = "reshape and transpose to shuffle channels, or to exchange channels and blocks of positions"


def holds_codes(reader: Reader, name: str) -> bool:
    """Return whether the tensor ``name`` holds integer codes."""
    moved = reader.moved.get(name)
    return name in reader.codes or name in reader.integers or (moved is not None and moved.integers is not None)


def integers(reader: Reader, name: str) -> Integers:
    """The tensor ``name`` of codes as a value of the IR; what QuantizeLinear puts out becomes one when first asked."""
    if name not in reader.integers:
        reader.integers[name] = _quantized(reader, name, reader.codes[name])
    return reader.integers[name]


def quantizer_of(reader: Reader, node: OnnxNode, codes: Codes, step: tuple[float, ...] = ()) -> Quantizer:
    """The quantizer that makes ``codes``; a code is worth ``step`` where that is given."""
    layout = codes.source.layout
    scale = layout.permute(reader.per_channel(node, codes.scale, layout, "scale"))
    return Quantizer(tuple(float(s) for s in scale), zero_point=0, low=codes.low, high=codes.high, step=step)


def _quantized(reader: Reader, name: str, codes: Codes) -> Integers:
    quantizer = quantizer_of(reader, codes.node, codes, (1.0,))
    source = codes.source
    value = reader.quantize(codes.node, source, quantizer, codes.origin, tensor=name, define=False)
    return Integers(Tensor(value, source.layout, name), codes.zero_point, codes.type)


def read_moved(reader: Reader, node: OnnxNode, handler: Callable[[Reader, OnnxNode], None]) -> None:
    """Read ``node``, one of MOVERS, on codes as ``handler`` does on real values."""
    names = node.inputs if node.op == "Concat" else node.inputs[:1]
    for name in names:
        if not holds_codes(reader, name):
            raise reader.file.fault(node, f"'{name}' holds no codes, other operands do", "export the model again")
    sources = [_source(reader, name) for name in names]
    first = sources[0]
    if any((s.zero_point, s.type) != (first.zero_point, first.type) for s in sources):
        raise reader.file.fault(
            node, "codes of unlike types or zero points", "dequantize in front of it, or quantize all operands alike"
        )
    reader.tensors |= {name: source.tensor for name, source in zip(names, sources, strict=True)}
    try:
        handler(reader, node)
    finally:
        for name in names:
            del reader.tensors[name]
    for name in node.outputs:
        if name in reader.moved:
            reader.moved[name] = replace(reader.moved[name], integers=first)
        if name in reader.padded:
            around = reader.padded[name]
            reader.padded[name] = replace(around, value=around.value - first.zero_point)
            reader.integers[name] = Integers(around.source, first.zero_point, first.type)
        if name in reader.tensors:
            reader.integers[name] = Integers(reader.tensors.pop(name), first.zero_point, first.type)


def _source(reader: Reader, name: str) -> Integers:
    """The codes ``name`` as a value, or those that they are moved from."""
    moved = reader.moved.get(name)
    return integers(reader, name) if moved is None or moved.integers is None else moved.integers


def holds_move(reader: Reader, node: OnnxNode) -> bool:
    """Return whether ``node`` reads a moved tensor without a form first; one that has a form becomes a value."""
    moved = reader.moved.get(node.inputs[0])
    return moved is not None and not _settled(reader, node, node.inputs[0], moved)


def settle(reader: Reader, node: OnnxNode, names: Iterable[str]) -> None:
    """Make values of the moved tensors among ``names``, for ``node``."""
    for name in names:
        moved = reader.moved.get(name)
        if moved is not None and not _settled(reader, node, name, moved):
            shape, before = moved_shape(reader, moved), reader.shape(moved.source)
            axes = moved.source.layout.axes
            raise reader.file.fault(
                node,
                f"it reads '{name}' of shape {shape}, whose elements are moved from {before} ({axes})",
                "the batch stays the first axis" if moved.turned else _FORMS,
            )


def _settled(reader: Reader, node: OnnxNode, name: str, moved: Moved) -> bool:
    """Make a value of the ``moved`` tensor ``name``, for ``node``, where the move has a form; return whether it has."""
    tensor = materialized(reader, node, name, moved)
    if tensor is None:
        return False
    _define(reader, name, tensor, moved.integers)
    del reader.moved[name]
    return True


def _define(reader: Reader, name: str, tensor: Tensor, integers: Integers | None) -> None:
    """Let ``name`` be ``tensor``, of real numbers or of codes like ``integers``."""
    if integers is None:
        reader.tensors[name] = tensor
    else:
        reader.integers[name] = replace(integers, tensor=tensor)


def read_before_move(reader: Reader, node: OnnxNode, read: Callable[[Reader, OnnxNode], None]) -> bool:
    """``read`` a ``node`` that treats all numbers alike in front of the move that makes its input.

    Return whether it was; it is not where its input is no moved tensor, or one that has a form.
    """
    name, result = node.inputs[0], node.outputs[0]
    moved = reader.moved.get(name)
    if moved is None:
        return False
    if not by_head(moved) and not moved_on(reader, node) and _settled(reader, node, name, moved):
        return False
    _define(reader, name, moved.source, moved.integers)
    try:
        read(reader, node)
    finally:
        (reader.tensors if moved.integers is None else reader.integers).pop(name)  # type: ignore[attr-defined]
    found = integers(reader, result) if holds_codes(reader, result) else None
    source = reader.tensors.pop(result) if found is None else reader.integers.pop(result).tensor
    reader.codes.pop(result, None)
    reader.moved[result] = replace(moved, source=source, integers=found)
    return True


def read_before_pad(reader: Reader, node: OnnxNode, read: Callable[[Reader, OnnxNode], None]) -> bool:
    """``read`` a QuantizeLinear ``node`` in front of the Pad with zeros, which have a code, that makes its input.

    Return whether it was that.
    """
    name, result = node.inputs[0], node.outputs[0]
    around = reader.padded.get(name)
    if node.op != "QuantizeLinear" or around is None or around.value or name in reader.integers:
        return False
    reader.tensors[name] = reader.padded.pop(name).source
    try:
        read(reader, node)
    finally:
        del reader.tensors[name]
        reader.padded[name] = around
    found = integers(reader, result)
    del reader.codes[result]
    reader.padded[result] = replace(around, source=found.tensor)
    return True


def shifted(reader: Reader, node: OnnxNode, source: Tensor, shift: np.ndarray) -> Tensor:
    """``source`` plus the integers ``shift``, (C,) in ONNX order or (1,); itself where they are 0."""
    if not shift.any():
        return source
    one, given = np.ones(1), source.layout.permute(shift.astype(np.float64))
    value = reader.emit(
        node,
        source.layout,
        lambda name, value: Affine(
            name=name, inputs=(source.value.name,), outputs=(value,), origin=(node.own_name,), scale=one, shift=given
        ),
        define=False,
    )
    return Tensor(value, source.layout, source.onnx_name)


def read_cast(reader: Reader, node: OnnxNode) -> None:
    """Cast to float32: of codes, zero point included, as real numbers; of real numbers, which stay as they are."""
    name, kind = node.input(0), int(node.attributes.get("to", 0))
    if name in reader.tensors and kind == 1:
        reader.alias(node, reader.tensor(node))
        return
    if not holds_codes(reader, name) or kind != 1:
        raise unsupported_cast(reader, node)
    found = integers(reader, name)
    reader.alias(node, shifted(reader, node, found.tensor, np.array([found.zero_point])))


def unsupported_cast(reader: Reader, node: OnnxNode) -> UserError:
    """A Cast that changes what numbers there are."""
    return reader.file.fault(node, "a Cast that is not one of integers to float32", "quantize with a Quant node")
