"""Evaluation in blocks against the definition of every node, and what it holds in memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.graphs import Builder, conv_net, grouped_net, mlp, random_input, residual_net, unet
from tests.model_graphs import ModelBuilder
from toolchain.ir import blocks
from toolchain.ir.evaluate import evaluate, needed, values
from toolchain.ir.graph import Graph
from toolchain.ir.live import frame_bytes
from toolchain.ir.types import Array, Value


def plainly(graph: Graph, x: Array) -> dict[str, Array]:
    """Every value by ``evaluate`` alone: whole int64 arrays, node after node."""
    found = {graph.input.name: x}
    for node in graph.nodes:
        result = node.evaluate(*(found[name] for name in node.inputs))
        found |= {value.name: result for value in node.outputs}
    return found


def odd_windows() -> Graph:
    """Windows of every geometry, filled with other numbers than 0, and each way to read one."""
    b = Builder((13, 11, 3), 5, signed=True, seed=4)
    x = b.threshold(
        b.matvec(b.window(b.input, (3, 2), stride=(2, 1), pads=(2, 1, 0, 1), pad_value=-7), 6), 3, per_channel=True
    )
    wide = b.window(x, (2, 3), pads=(1, 2, 1, 2), dilation=(2, 2), pad_value=5)
    b.mulshift(b.depthwise(wide, 6), 6)
    c = b.pool(b.window(x, (3, 3), stride=(1, 1), pad_value=-1), 9, "max")
    d = b.pool(b.window(x, (3, 3), pad_value=2), 9, "sum")
    e = b.slice(b.window(x, (1, 1), pads=(0, 0, 0, 0)), 1, 4)  # reads a window that nothing lays out
    f = b.row_conv(b.window(e, (3, 1), pads=(1, 0, 1, 0)), 5)
    return b.graph(b.matvec(b.concat(b.add(c, d, (3, -2)), f), 4))


NETWORKS = {
    "mlp": mlp,
    "conv_net": conv_net,
    "residual_net": residual_net,
    "unet": unet,
    "grouped_net": grouped_net,
    "odd_windows": odd_windows,
}


@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 22])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_value_is_that_of_the_node_by_node_evaluation(name, block_bytes, monkeypatch):
    """Whatever the size of a block: one row of one frame, a few rows, several frames."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    graph = NETWORKS[name]()
    x = random_input(graph, 5)
    expected = plainly(graph, x)
    found = evaluate(graph, x, taps=set(graph.values()))

    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == np.int64


@pytest.mark.parametrize("bits", [8, 20, 45])
def test_wide_products_stay_exact_in_blocks(bits, monkeypatch):
    """Sums that float32, float64 and int64 hold, at the largest inputs and weights."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    b = Builder((4, 5, 2), bits, signed=True)
    graph = b.graph(b.add(b.depthwise(b.window(b.input), 9, 9), b.pool(b.window(b.input), 9, "sum")))
    second = Builder((4, 5, 2), bits, signed=True, seed=1)
    product = second.graph(second.conv(second.input, 3, bits=12))
    kind = b.input.qint
    x = random_input(graph, 3)
    x[0], x[1] = kind.min, kind.max

    for network in (graph, product):
        np.testing.assert_array_equal(evaluate(network, x)[network.output], plainly(network, x)[network.output])


@pytest.mark.parametrize("block_bytes", [1, 1 << 22])
def test_real_windows_are_evaluated_in_blocks(block_bytes, monkeypatch):
    """Grouped and strided convolutions and both pools of MODEL level; scales are powers of two, so sums are exact."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    b = ModelBuilder((9, 7, 4), 5, dyadic=True)
    x = b.quant("x", 8, True, scale=0.5)
    x = b.relu(b.batchnorm(b.conv(x, 8, 3, 2, 1, groups=2, bias=True)))
    x = b.sum(b.pool(x, "max", 3, 1, 1), x)
    x = b.pool(x, "average", 2, 1, 1)
    graph = b.graph()
    pixels = np.random.default_rng(0).integers(-99, 99, (3, 9, 7, 4)).astype(np.float64)

    np.testing.assert_array_equal(evaluate(graph, pixels)[graph.output], plainly(graph, pixels)[graph.output])


def test_only_what_is_wanted_is_computed():
    """Values that are given cut off what lies in front of them."""
    graph = residual_net()
    names = [node.output.name for node in graph.nodes]

    assert [node.output.name for node in needed(graph.nodes, [names[2]])] == names[:3]
    assert [node.output.name for node in needed(graph.nodes, [names[2]], {names[1]})] == names[2:3]
    assert [name for name, _ in values(graph, random_input(graph), names[4:6])] == names[4:6]


def deep(size: int, layers: int) -> Graph:
    """Convolutions of 3 x 3 with 16 channels one after the other."""
    b = Builder((size, size, 4), 4)
    x: Value = b.input
    for _ in range(layers):
        x = b.threshold(b.conv(x, 16), 3, per_channel=False)
    return b.graph(x)


def peak_of(graph: Graph, frames: int) -> int:
    """Bytes that numpy allocates at the peak of an evaluation."""
    x = random_input(graph, frames)
    evaluate(graph, x[:1])
    tracemalloc.start()
    for _ in values(graph, x, {graph.output}):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_peak_is_that_of_the_live_tensors():
    """Neither the windows, nine times a map, nor the layers already left are held; blocks come on top."""
    graph, frames = deep(64, 6), 16

    assert peak_of(graph, frames) <= frames * frame_bytes(graph) + 8 * blocks.BLOCK_BYTES
    assert frames * frame_bytes(graph) < frames * 64 * 64 * 16 * 9  # less than a byte an element of one window


def test_depth_adds_nothing():
    """A frame of 30 layers takes what one of 3 does."""
    assert frame_bytes(deep(16, 30)) == frame_bytes(deep(16, 3))
