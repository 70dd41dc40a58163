"""Window(3x3) -> MatVec   becomes   Window(3x1) -> RowConv(3 taps)   or   Window(3x3) -> RowConv(1 tap).

Several positions of a row are then computed at once: the taps of a row move into the multiplication, or the positions
share their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import GroupedMatVec, MatVec, RowConv
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array

MOST_GROUPS = 2
"""Row convolutions multiply every channel: between two groups half of the products are zeros, which taps times columns
on a slice make up for; with three or four groups none was faster or smaller."""


def split_row_convs(graph: Graph, taps: Mapping[str, int | None]) -> Graph:
    """``graph`` with the matrix-vector products named in ``taps`` as row convolutions of that many taps if they can.

    None are the taps of the kernel's row, or one where that has no such form. Nodes and values keep their names; the
    same object when nothing changed.
    """
    producers = graph.producers()
    changed: dict[str, Node] = {}
    for node in graph.nodes:
        if node.name in taps and (product := _product(node)):
            before = producers.get(node.inputs[0])
            nodes = [before, product] if isinstance(before, Window) else [product]
            forms = {form[-1].taps: form for form in row_forms(nodes) if isinstance(form[-1], RowConv)}
            changed |= {new.name: new for new in forms.get(taps[node.name] or max(forms), [])}
    return graph.with_nodes(changed.get(n.name, n) for n in graph.nodes) if changed else graph


def row_forms(nodes: Sequence[Node]) -> list[list[Node]]:
    """``nodes``, which begin with a matrix-vector product or its window, with the product as row convolutions.

    One of a single tap, and one of the taps of the kernel's row. That one the product does not have when its window has
    one row or one column, skips positions, or pads its rows other than with nothing or with half a kernel of zeros.
    """
    windows = [node for node in nodes[:1] if isinstance(node, Window)]
    rest = nodes[len(windows) :]
    product = _product(rest[0]) if rest else None
    if product is None:
        return []
    forms = [[*windows, _conv(product, product.matrix[:, None, :], 0), *rest[1:]]]
    return forms + [[*split, *rest[1:]] for window in windows if (split := _split(window, product))]


def _product(node: Node) -> MatVec | GroupedMatVec | None:
    """``node`` where it is a product that has row forms."""
    if isinstance(node, GroupedMatVec):
        return node if node.groups <= MOST_GROUPS else None
    return node if isinstance(node, MatVec) else None


def _split(window: Window, matvec: MatVec | GroupedMatVec) -> list[Node]:
    """A window of one column and the convolution of its columns; empty: there is none."""
    (tall, wide), (top, left, bottom, right) = window.kernel, window.pads
    padded = left == right == (wide - 1) / 2 and window.pad_value == 0
    if (
        min(tall, wide) < 2
        or window.stride != (1, 1)
        or window.dilation != (1, 1)
        or not (padded or left == right == 0)
    ):
        return []
    rows, columns, size = window.output.shape
    inputs = size // window.taps
    shape = (rows, columns + wide - 1 - left - right, tall * inputs)
    column = replace(window, kernel=(tall, 1), pads=(top, 0, bottom, 0), outputs=(replace(window.output, shape=shape),))
    weight = matvec.matrix.reshape(-1, tall, wide, inputs).transpose(0, 2, 1, 3).reshape(-1, wide, tall * inputs)
    return [column, _conv(matvec, weight, left)]


def _conv(matvec: MatVec | GroupedMatVec, weight: Array, pad: int) -> RowConv:
    return RowConv(
        name=matvec.name,
        inputs=matvec.inputs,
        outputs=matvec.outputs,
        origin=matvec.origin,
        weight=weight,
        weight_type=matvec.weight_type,
        pad=pad,
        groups=matvec.groups if isinstance(matvec, GroupedMatVec) else 1,
    )
