"""Nodes of float ONNX files that read a signal as a map of one row, as Keras' exporters write layers of signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.train.ptq.curves import ALIKE
from toolchain.train.ptq.onnx_builder import Builder

_ROW = 2  # axis of the row in (N, C, 1, length)
_WINDOWS = frozenset(["AveragePool", "Conv", "MaxPool"])
_REDUCING = frozenset(["GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceSum"])


def as_of_a_signal(build: Builder, node: OnnxNode) -> OnnxNode:
    """``node`` as it is on signals (N, C, length) in place of maps (N, C, 1, length).

    Raises:
        UserError: it does something in the direction of the row.
    """
    tensors = [name for name in node.inputs if name and name not in build.constants]
    attributes, inputs = dict(node.attributes), list(node.inputs)
    if any(name not in build.rows for name in tensors):
        raise _fault(build, node)
    if node.op in _REDUCING:  # they know rows
        return node
    if node.op in ("Flatten", "Reshape", "Squeeze"):
        return _reshaped(build, node)
    build.rows.add(node.outputs[0])
    if node.op in _WINDOWS:
        _drop_row(build, node, attributes)
        if node.op == "Conv":
            inputs[1] = _squeezed(build, node, inputs[1])
    elif node.op in ALIKE:
        inputs = [_squeezed(build, node, name) if name in build.constants else name for name in inputs]
    elif node.op == "Concat" and int(attributes.get("axis", 1)) % 4 != _ROW:
        attributes["axis"] = min(int(attributes.get("axis", 1)) % 4, _ROW)
    elif node.op == "Pad":
        given = build.integers(node, "axes", 3) or [0, 1, 2, 3]
        pads = np.array(build.integers(node, "pads", 1)).reshape(2, -1)
        kept = [index for index, axis in enumerate(given) if axis % 4 != _ROW]
        if np.delete(pads, kept, axis=1).any():
            raise _fault(build, node)
        attributes |= {"pads": pads[:, kept].ravel().tolist(), "axes": [min(given[i] % 4, _ROW) for i in kept]}
    elif node.op != "BatchNormalization":
        raise _fault(build, node)
    return replace(node, attributes=attributes, inputs=tuple(inputs))


def _reshaped(build: Builder, node: OnnxNode) -> OnnxNode:
    """A Flatten, Reshape or Squeeze, behind which there is no row."""
    if node.op == "Squeeze":
        axes = {axis % 4 for axis in build.integers(node, "axes", 1) or [_ROW, _ROW + 1]}
        return replace(node, attributes={"axes": [min(axis, _ROW) for axis in axes - {_ROW}]})
    wanted = build.integers(node, "shape", 1) or [] if node.op == "Reshape" else []
    if len(wanted) > 3 or 0 in wanted[2:] or int(node.attributes.get("axis", 1)) != 1:
        raise _fault(build, node)
    return node


def _drop_row(build: Builder, node: OnnxNode, attributes: dict[str, Any]) -> None:
    """Leave the row out of the numbers of a window."""
    pads = [int(pad) for pad in attributes.get("pads", (0,) * 4)]
    if any(pads[::2]) or attributes.get("kernel_shape", (1,))[0] != 1:
        raise _fault(build, node)
    for key in {"kernel_shape", "strides", "dilations"} & attributes.keys():
        attributes[key] = attributes[key][1:]
    if "pads" in attributes:
        attributes["pads"] = pads[1::2]


def _squeezed(build: Builder, node: OnnxNode, name: str) -> str:
    """The name of a constant without its axis of the row."""
    array = build.constants.get(name)
    if array.ndim < 2:
        return name
    if array.shape[-2] != 1:
        raise _fault(build, node)
    return build.form(name, array.squeeze(-2))


def _fault(build: Builder, node: OnnxNode) -> UserError:
    return build.file.fault(node, "it reads a signal as a map of one row", "use layers of signals, such as Conv1d")
