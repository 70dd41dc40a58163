"""Concat of tokens with constant ones, such as a class token: the first or last token repeated, and overwritten."""

from __future__ import annotations

import numpy as np

from toolchain.frontend.layout import TURNED, Layout, Tensor
from toolchain.frontend.linear import emit_affine
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.frontend.reader import Reader
from toolchain.frontend.tokens import flat_signal, spread_again
from toolchain.ir.ops.maps import Upsample
from toolchain.ir.types import Array


def with_constant_tokens(reader: Reader, node: OnnxNode) -> list[Tensor]:
    """Read the inputs of the Concat ``node``, each constant as tokens in front of or behind an activation's.

    Raises:
        UserError: a constant that is no tokens beside those of an activation.
    """
    constant = [name in reader.constants for name in node.inputs]
    first = next(i for i, known in enumerate(constant) if not known)
    axes = reader.tensor(node, first).layout.axes
    rank, axis = len(axes), int(node.attributes.get("axis", 1))
    if axes not in TURNED or not -rank <= axis < rank or axis % rank == 0:
        raise reader.file.fault(
            node,
            f"operand {constant.index(True)} is a constant",
            "join activations only, or constant tokens with tokens (N, tokens, features)",
        )
    wanted = axes if axes[axis] == "W" else TURNED[axes]
    found: list[Tensor] = []
    before: list[Array] = []
    waiting: list[Array] = before
    source: Tensor | None = None
    for i, known in enumerate(constant):
        if known:
            waiting.append(_tokens(reader, node, i, reader.tensor(node, first, (wanted,)).layout))
            continue
        if source is not None:
            found.append(_extended(reader, node, source, before, waiting))
            before = []
        source, waiting = reader.tensor(node, i, (wanted,)), []
    assert source is not None
    return [*found, _extended(reader, node, source, before, waiting)]


def _tokens(reader: Reader, node: OnnxNode, index: int, beside: Layout) -> Array:
    """The constant operand ``index`` as tokens (T, features) beside a tensor of the layout ``beside``."""
    array = reader.constant(node, index, f"operand {index}")
    features = beside.shape[2]
    sizes = dict(zip(beside.axes, array.shape, strict=False))
    if array.ndim != 3 or sizes["C"] != features or not array.size or (array != array[:1]).any():
        raise reader.file.fault(
            node,
            f"operand {index} is a constant of shape {array.shape} beside {beside.onnx_shape(reader.batch)}",
            "give constant tokens as (1, tokens, features)",
        )
    return Layout(beside.axes, (1, sizes["W"], features)).to_ir(array[:1])[0, 0]


def _extended(reader: Reader, node: OnnxNode, source: Tensor, before: list[Array], behind: list[Array]) -> Tensor:
    """``source`` with the tokens ``before`` and ``behind`` it: its outer ones again, times 0 and with those added."""
    if not before and not behind:
        return source
    _, tokens, features = source.value.shape
    first, last = (sum(len(part) for part in parts) for parts in (before, behind))
    layout = Layout(source.layout.axes, (1, first + tokens + last, features))
    value = reader.emit(
        node,
        layout,
        lambda name, value: Upsample(
            name=name,
            inputs=(source.value.name,),
            outputs=(value,),
            origin=(node.own_name,),
            factors=(1, 1),
            edges=(0, first, 0, last),
        ),
        define=False,
    )
    kept = np.concatenate([np.zeros(first), np.ones(tokens), np.zeros(last)])
    shift = np.concatenate([*before, np.zeros((tokens, features)), *behind])
    flat = flat_signal(reader, node, Tensor(value, layout, source.onnx_name))
    emit_affine(reader, node, flat, np.repeat(kept, features), shift.ravel())
    spread_again(reader, node, layout)
    return reader.tensors[node.outputs[0]]
