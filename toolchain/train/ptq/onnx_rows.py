"""Nodes of float ONNX files that read a signal as a map of one row, as Keras' exporters write layers of signals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.frontend.onnx_file import OnnxNode
from toolchain.train.ptq.curves import ALIKE
from toolchain.train.ptq.onnx_builder import Builder

_WINDOWS = frozenset(["AveragePool", "Conv", "ConvTranspose", "MaxPool"])
_REDUCING = frozenset(["GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceSum"])


def as_of_a_signal(build: Builder, node: OnnxNode) -> OnnxNode:
    """``node`` as it is on signals (N, C, length) in place of maps (N, C, 1, length) or (N, C, length, 1).

    Raises:
        UserError: it does something in the direction of the axis of size 1.
    """
    tensors = [name for name in node.inputs if name and name not in build.constants]
    attributes, inputs = dict(node.attributes), list(node.inputs)
    single = build.rows.get(tensors[0], 0)
    if any(build.rows.get(name) != single for name in tensors):
        raise _fault(build, node)
    if node.op in _REDUCING:  # they know rows
        return node
    if node.op in ("Flatten", "Reshape", "Squeeze"):
        return _reshaped(build, node, single)
    build.rows[node.outputs[0]] = single
    if node.op in _WINDOWS:
        _drop_axis(build, node, attributes, single)
        if node.op in ("Conv", "ConvTranspose"):
            inputs[1] = _squeezed(build, node, inputs[1], single)
    elif node.op in ALIKE:
        inputs = [_squeezed(build, node, name, single) if name in build.constants else name for name in inputs]
    elif node.op == "Concat" and int(attributes.get("axis", 1)) % 4 != single:
        attributes["axis"] = min(int(attributes.get("axis", 1)) % 4, 2)
    elif node.op == "Pad":
        given = build.integers(node, "axes", 3) or [0, 1, 2, 3]
        pads = np.array(build.integers(node, "pads", 1)).reshape(2, -1)
        kept = [index for index, axis in enumerate(given) if axis % 4 != single]
        if np.delete(pads, kept, axis=1).any():
            raise _fault(build, node)
        attributes |= {"pads": pads[:, kept].ravel().tolist(), "axes": [min(given[i] % 4, 2) for i in kept]}
    elif node.op == "Slice":
        _cut(build, node, attributes, single)
    elif node.op != "BatchNormalization":
        raise _fault(build, node)
    return replace(node, attributes=attributes, inputs=tuple(inputs))


def _reshaped(build: Builder, node: OnnxNode, single: int) -> OnnxNode:
    """A Flatten, Reshape or Squeeze, behind which the axis ``single`` is gone."""
    if node.op == "Squeeze":
        axes = {axis % 4 for axis in build.integers(node, "axes", 1) or [2, 3]}
        return replace(node, attributes={"axes": [min(axis, 2) for axis in axes - {single}]})
    wanted = build.integers(node, "shape", 1) or [] if node.op == "Reshape" else []
    if len(wanted) > 3 or 0 in wanted[2:] or int(node.attributes.get("axis", 1)) != 1:
        raise _fault(build, node)
    return node


def _drop_axis(build: Builder, node: OnnxNode, attributes: dict[str, Any], single: int) -> None:
    """Leave the axis ``single`` out of the numbers of a window."""
    own = single - 2
    pads = [int(pad) for pad in attributes.get("pads", (0,) * 4)]
    if any(pads[own::2]) or attributes.get("kernel_shape", (1, 1))[own] != 1:
        raise _fault(build, node)
    for key in {"kernel_shape", "strides", "dilations", "output_padding"} & attributes.keys():
        attributes[key] = [attributes[key][1 - own]]
    if "pads" in attributes:
        attributes["pads"] = pads[1 - own :: 2]


def _cut(build: Builder, node: OnnxNode, attributes: dict[str, Any], single: int) -> None:
    """Leave the axis ``single`` out of the numbers of a Slice, which takes it whole."""
    starts = build.integers(node, "starts", 1) or []
    given = {"starts": starts, "ends": build.integers(node, "ends", 2) or []}
    given["axes"] = [axis % 4 for axis in build.integers(node, "axes", 3) or range(len(starts))]
    given["steps"] = build.integers(node, "steps", 4) or [1] * len(starts)
    kept = [index for index, axis in enumerate(given["axes"]) if axis != single]
    if any(range(1)[slice(given["starts"][i], given["ends"][i])] != range(1) for i in {*range(len(starts))} - {*kept}):
        raise _fault(build, node)
    attributes |= {key: [numbers[i] for i in kept] for key, numbers in given.items()}
    attributes["axes"] = [min(axis, 2) for axis in attributes["axes"]]


def _squeezed(build: Builder, node: OnnxNode, name: str, single: int) -> str:
    """The name of a constant without its axis ``single`` of four."""
    array = build.constants.get(name)
    if array.ndim < 4 - single:
        return name
    if array.shape[single - 4] != 1:
        raise _fault(build, node)
    return build.form(name, array.squeeze(single - 4))


def _fault(build: Builder, node: OnnxNode) -> UserError:
    return build.file.fault(node, "it reads a signal as a map of one row", "use layers of signals, such as Conv1d")
