"""Layers over blocks of positions that are channels, as layers that stride over the positions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.maps import SpaceToDepth
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Value
from toolchain.ir.verify import Level, verify
from toolchain.passes.stride_blocks import stride_blocks

Net = Callable[[Builder, Value], tuple[Value, ...]]


def _wide(net: Builder, x: Value) -> tuple[Value, ...]:
    y = net.space_to_depth(x)
    window = net.window(y, (3, 2), stride=(1, 2), pads=(1, 0, 2, 1), pad_value=-1)
    return net.matvec(window, 5), net.matvec(window, 2), net.matvec(y, 3)


def _uneven(net: Builder, x: Value) -> tuple[Value, ...]:
    return (net.matvec(net.window(net.space_to_depth(net.mulshift(net.matvec(x, 4), 4), (3, 1)), (2, 2)), 5),)


def _pooled(net: Builder, x: Value) -> tuple[Value, ...]:
    return (net.matvec(net.pool(net.window(net.space_to_depth(x)), 9), 5),)


def _added(net: Builder, x: Value) -> tuple[Value, ...]:
    y = net.space_to_depth(x)
    return (net.matvec(net.mulshift(net.add(y, net.mulshift(net.matvec(y, 12), 4)), 4), 5),)


def _cut_off(net: Builder, x: Value) -> tuple[Value, ...]:
    return (net.matvec(net.window(net.space_to_depth(x, (4, 4)), (3, 3), pads=(1, 1, 1, 1)), 5),)


def _dilated(net: Builder, x: Value) -> tuple[Value, ...]:
    return (net.matvec(net.window(net.space_to_depth(x), (2, 2), dilation=(2, 1)), 5),)


def _put_out(net: Builder, x: Value) -> tuple[Value, ...]:
    y = net.space_to_depth(x)
    return net.matvec(y, 3), y


@pytest.mark.parametrize(
    ("network", "kernels"),
    [
        (_wide, [(6, 4), (2, 2)]),
        (_uneven, [(6, 2)]),
        *((network, None) for network in (_pooled, _added, _cut_off, _dilated, _put_out)),
    ],
)
def test_products_of_blocks_stride_over_positions(network: Net, kernels: list[tuple[int, int]] | None) -> None:
    """Where products alone read whole blocks; else the network stays as it is."""
    net = Builder((6, 10, 3), 4, signed=True)
    first, *heads = network(net, net.input)
    graph = net.graph(first, heads=tuple(heads))
    found = verify(stride_blocks(graph), Level.INTEGER)
    if kernels is None:
        assert found is graph
        return
    assert [node.kernel for node in found.nodes if isinstance(node, Window)] == kernels
    assert not any(isinstance(node, SpaceToDepth) for node in found.nodes)
    x = random_input(graph, 5)
    expected, given = evaluate(graph, x), evaluate(found, x)
    for output in graph.outputs:
        np.testing.assert_array_equal(given[output.value], expected[output.value])
