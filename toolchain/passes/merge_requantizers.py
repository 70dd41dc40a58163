"""r(x) and r(x) once more   become   r(x), read twice.

Files of onnxruntime's operators have them: what reads a convolution's codes and what reads the numbers that these stand
for each get a quantizer of their own.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold


def merge_requantizers(graph: Graph) -> Graph:
    """``graph`` with one requantizer of a value where several have the same numbers; the same object without any."""
    source: dict[str, str] = {}
    kept: list[Node] = []
    of: dict[str, list[Node]] = {}
    for node in graph.nodes:
        read = replace(node, inputs=tuple(source.get(name, name) for name in node.inputs))
        if isinstance(read, MulShift | Threshold | Lookup):
            before = of.setdefault(read.inputs[0], [])
            first = next((other for other in before if _equal(other, read)), None)
            if first is not None:
                source[read.output.name] = first.output.name
                continue
            before.append(read)
        kept.append(read)
    if not source:
        return graph
    return graph.with_nodes(kept).with_output_values(source.get(o.value, o.value) for o in graph.outputs)


def _equal(a: Node, b: Node) -> bool:
    """Return whether ``a`` and ``b``, of one input, are the same but for their names."""
    told = [f.name for f in fields(a) if f.name not in ("name", "outputs", "origin")]
    same = type(a) is type(b) and a.outputs[0].type == b.outputs[0].type
    return same and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in told)
