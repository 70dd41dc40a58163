"""r(x) and r(x) once more   become   r(x), read twice.

Files of onnxruntime's operators have them: what reads a convolution's codes and what reads the numbers that these stand
for each get a quantizer of their own.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import Lookup, MulShift, Threshold


def merge_requantizers(graph: Graph) -> Graph:
    """``graph`` with one requantizer of a value where several have the same numbers; the same object without any."""
    source: dict[str, str] = {}
    seen: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if isinstance(node, MulShift | Threshold | Lookup):
            before = seen.setdefault(source.get(node.inputs[0], node.inputs[0]), [])
            first = next((other for other in before if _equal(other, node)), None)
            if first is None:
                before.append(node)
            else:
                source[node.output.name] = first.output.name
    return graph.with_source(source)


def _equal(a: Node, b: Node) -> bool:
    """Return whether ``a`` and ``b``, which read one value, are the same but for names."""
    told = [f.name for f in fields(a) if f.name not in ("name", "inputs", "outputs", "origin")]
    same = type(a) is type(b) and a.outputs[0].type == b.outputs[0].type
    return same and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in told)
