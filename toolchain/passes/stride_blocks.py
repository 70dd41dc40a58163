"""SpaceToDepth -> [Window ->] MatVec   becomes   Window -> MatVec of a larger kernel and stride.

Channels made of blocks of positions, as YOLO makes them of its pixels, are those positions; a layer that reads them
strides over the blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from toolchain.ir.evaluate import needed
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import SpaceToDepth
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Value


def stride_blocks(graph: Graph) -> Graph:
    """``graph`` whose layers read blocks of positions where they lie; the same object without any that do."""
    readers, values, names = graph.consumers(), graph.values(), graph.names()
    blocks = {
        node.output.name: node
        for node in graph.nodes
        if isinstance(node, SpaceToDepth) and node.output.name not in graph.written and _strides(node, readers, values)
    }
    if not blocks:
        return graph
    windows: dict[str, tuple[tuple[int, int], SpaceToDepth]] = {}  # kernels in blocks, by the window's output
    nodes: list[Node] = []
    for node in graph.nodes:
        block = blocks.get(node.inputs[0])
        if isinstance(node, Window) and block is not None:
            windows[node.output.name] = node.kernel, block
            node = _strided(node, block)
        elif isinstance(node, MatVec) and block is not None:
            facts = {"name": names.fresh(block.name), "origin": block.origin, "inputs": block.inputs}
            size = (*node.output.shape[:2], block.output.shape[2])
            laid = Value(names.fresh(f"{block.output.name}_window"), size, values[block.inputs[0]].type)
            nodes.append(Window(**facts, outputs=(laid,), kernel=block.block, stride=block.block))  # type: ignore[arg-type]
            node = replace(node, inputs=(laid.name,), weight=_by_position(node.weight, (1, 1), block))
        elif isinstance(node, MatVec) and node.inputs[0] in windows:
            node = replace(node, weight=_by_position(node.weight, *windows[node.inputs[0]]))
        nodes.append(node)
    return graph.with_nodes(needed(nodes, graph.written))


def _strides(node: SpaceToDepth, readers: Mapping[str, list[Node]], values: Mapping[str, Value]) -> bool:
    """Return whether whole blocks are read by products alone, at most through windows without dilation."""
    shape, (height, width) = values[node.inputs[0]].shape, node.output.shape[:2]
    whole = shape[:2] == (height * node.block[0], width * node.block[1])
    return whole and all(
        isinstance(reader, MatVec)
        or (
            isinstance(reader, Window)
            and reader.dilation == (1, 1)
            and all(isinstance(product, MatVec) for product in readers[reader.output.name])
        )
        for reader in readers[node.output.name]
    )


def _strided(node: Window, block: SpaceToDepth) -> Window:
    """``node``, a window of blocks, as one of positions."""
    a, b = block.block
    (rows, columns), (down, right), (top, left, bottom, end) = node.kernel, node.stride, node.pads
    return replace(
        node, inputs=block.inputs, kernel=(rows * a, columns * b), stride=(down * a, right * b),
        pads=(top * a, left * b, bottom * a, end * b),
    )  # fmt: skip


def _by_position(weight: Array, kernel: tuple[int, int], block: SpaceToDepth) -> Array:
    """Rows of ``weight`` over windows of ``kernel`` blocks, in the order of their positions."""
    count, (a, b) = len(weight), block.block
    taps = weight.reshape(count, *kernel, a, b, -1)
    return np.ascontiguousarray(taps.transpose(0, 1, 3, 2, 4, 5)).reshape(count, -1)
