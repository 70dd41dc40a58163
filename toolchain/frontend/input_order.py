"""Whether the first layers of a file read its input with the channels last."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from toolchain.frontend.activations import CURVES
from toolchain.frontend.constants import Constants
from toolchain.frontend.layout import CHANNELS_LAST
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxFile, OnnxNode, data_layout

_ANY_ORDER = """
Add Cast Clip Concat DequantizeLinear Div HardSigmoid Identity LeakyRelu Mul Neg QuantizeLinear Relu Resize Slice Split
Sub Upsample
"""
ANY_ORDER = frozenset(_ANY_ORDER.split()) | CURVES.keys()
"""Operations that work on maps whatever the order of their axes."""

_ROWS, _COLUMNS = ([1], [-3]), ([2], [-2])
"""Axes that Unsqueeze adds to a signal (N, positions, channels) to make it a map of one row, or of one column."""


def first_orders(file: OnnxFile, constants: Constants, *, transposed: bool = False) -> set[bool]:
    """Return, for each of the first layers that the input reaches and that tell, whether it reads channels last.

    Where ``transposed``, a signal is only where a Transpose of it, or of a map of one row made of it, or a list of its
    positions says so.
    """
    last = file.shape[1:]
    first_perm = [0, len(last), *range(1, len(last))]
    rows: dict[str, tuple[int, ...]] = {}  # signals as maps of one row or column, as Keras files have them, and sizes
    consumers: dict[str, list[OnnxNode]] = {}
    for node in file.nodes:
        for name in node.inputs:
            consumers.setdefault(name, []).append(node)
    found: set[bool] = set()
    names, seen = [file.input], {file.input}
    while names:
        for node in consumers.get(names.pop(), []):
            if node.op == "MatMul":
                found.add(not transposed or len(last) > 2)
            elif node.domain == CHANNELS_LAST_DOMAIN:
                found.add(True)
            elif node.op == "Transpose":
                perm = [0, 3, 1, 2] if node.inputs[0] in rows else first_perm
                found.add(list(node.attributes.get("perm", ())) == perm)
            elif node.op == "Reshape" and transposed and _lists(node, last, constants):
                found.add(True)
            elif node.op == "Reshape" and last[-1] == 1 and node.inputs[1] in constants:  # how Keras files transpose
                sizes = rows.get(node.inputs[0], tuple(last[:-1]))
                found.add(tuple(constants.get(node.inputs[1])[1:]) == (1, *sizes))
            elif node.op == "Unsqueeze" and len(last) == 2 and (axis := _axes(node, constants)) in _ROWS + _COLUMNS:
                names += node.outputs
                rows |= dict.fromkeys(node.outputs, (1, last[0]) if axis in _ROWS else (last[0], 1))
            elif node.is_threshold and data_layout(node) in CHANNELS_LAST:
                found.add(True)
            elif node.is_quant or node.is_threshold or node.op in ANY_ORDER or node.op == "Pad":
                names += [name for name in node.outputs if name not in seen]
                rows |= {name: rows[node.inputs[0]] for name in node.outputs if node.inputs[0] in rows}
                seen.update(node.outputs)
            elif node.op != "Shape" or not transposed:
                found.add(False)
    return found


def _lists(node: OnnxNode, sample: Sequence[int], constants: Constants) -> bool:
    """Return whether a Reshape lists all positions of maps or signals of the shape ``sample``, their channels last."""
    name = node.input(1)
    return name in constants and tuple(constants.get(name)[1:]) == (sample[-1],) and prod(sample[:-1]) > 1


def _axes(node: OnnxNode, constants: Constants) -> list[int]:
    """The axes that an Unsqueeze adds, an attribute or an input."""
    given = node.attributes.get("axes", constants.get(node.input(1)) if node.input(1) in constants else ())
    return [int(axis) for axis in given]
