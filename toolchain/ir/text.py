"""One line a node: the debug view and the golden format."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Quantizer, Value

_COMMON = {"name", "inputs", "outputs", "origin", "parallelism"}


def to_text(graph: Graph) -> str:
    """The graph as text; arrays appear as shape and range, so the text of a large network stays short."""
    lines = [f"graph {graph.name}", f"input {_value(graph.input)}"]
    lines += [_node(node) for node in graph.nodes]
    return "\n".join([*lines, *_outputs(graph), ""])


def _outputs(graph: Graph) -> list[str]:
    named = len(graph.outputs) > 1
    return [f"output {f'{output.name} = ' if named else ''}{output.value}" for output in graph.outputs]


def _value(value: Value) -> str:
    shape = "x".join(str(n) for n in value.shape)
    depth = "" if value.depth is None else f" depth={value.depth}"
    return f"{value.name}: {value.type}[{shape}]{depth}"


def _node(node: Node) -> str:
    shown = {f.name: getattr(node, f.name) for f in fields(node) if f.name not in _COMMON}
    if isinstance(node, MulShift) and not node.base.any():
        del shown["base"]
    attributes = [f"{name}={_attribute(value)}" for name, value in shown.items()]
    if node.parallelism is not None:
        attributes.append(f"lanes={node.parallelism.lanes_in}->{node.parallelism.lanes_out}")
        if node.parallelism.products_per_dsp is not None:
            attributes.append(f"products_per_dsp={node.parallelism.products_per_dsp}")
        if node.parallelism.columns > 1:
            attributes.append(f"columns={node.parallelism.columns}")
        if node.parallelism.ultra:
            attributes.append("ultra")
        if node.parallelism.constant:
            attributes.append("constant")
    outputs = ", ".join(_value(v) for v in node.outputs)
    return f"{outputs} = {type(node).__name__} {node.name}({', '.join(node.inputs)}) {' '.join(attributes)}".rstrip()


def _attribute(value: object) -> str:
    if isinstance(value, np.ndarray):
        shape = "x".join(str(n) for n in value.shape)
        return f"<{shape} {value.min():g}..{value.max():g}>" if value.size else f"<{shape}>"
    if isinstance(value, tuple) and any(isinstance(item, np.ndarray) for item in value):
        items = (str(item.item()) if item.size == 1 else _attribute(item) for item in value)
        return f"({','.join(items)})"
    if isinstance(value, Quantizer):
        scales = f"{min(value.scale):g}" if len(value.scale) == 1 else f"{min(value.scale):g}..{max(value.scale):g}"
        return f"[{value.low}..{value.high}]*{scales}{' bipolar' if value.bipolar else ''}"
    return str(value).replace(" ", "")
