"""Which nodes become a pass of the engine, and what it cannot run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.engine.networks import averaged, inverted_residuals, residual_blocks, shifted, stairs
from tests.graphs import Builder
from toolchain.engine.cut import cut, refusals
from toolchain.engine.tables import pack, unpack
from toolchain.errors import UserError
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.types import Value


def test_an_inverted_residual_is_two_passes() -> None:
    """Expansion with the depthwise filter, projection with the sum of branches."""
    passes = cut(inverted_residuals()).passes

    assert [(p.window.mode if p.window else None, p.merge is not None) for p in passes] == [
        ("filter", False),
        (None, False),
        ("filter", False),
        (None, True),
        ("filter", False),
        (None, False),
        ("global_sum", False),
        (None, False),
    ]
    assert passes[-1].raw


def test_a_clip_that_never_acts_is_that_of_the_codes() -> None:
    """A requantizer clips to s8 what is never negative: the pass table holds codes without a sign."""
    graph = inverted_residuals()
    pooled = next(node for node in graph.nodes if isinstance(node, GlobalSum))
    wide = [replace(n, low=-128) if n.inputs == (pooled.output.name,) else n for n in graph.nodes]

    (requant,) = [p.second for p in cut(graph.with_nodes(wide)).passes if p.second and p.window.mode == "global_sum"]
    assert (requant.low, requant.high) == (0, 255)


def test_the_shortcut_convolution_takes_the_sum_of_branches_that_is_ready() -> None:
    """Of two convolutions that are added, the later one adds."""
    passes = cut(residual_blocks()).passes
    merging = [p for p in passes if p.merge is not None]

    assert [p.conv.kernel for p in merging if p.conv is not None] == [(3, 3), (1, 1)]
    assert all(passes.index(p) > [q.result for q in passes].index(p.merge.residual) for p in merging if p.merge)


def test_codes_that_are_quantized_once_more_pass_the_first_requantizer_alone() -> None:
    """The shortcut of a residual block whose branches get one scale; also with a factor a channel."""
    graph = residual_blocks(identity=True)
    assert refusals(graph) == []
    (alone,) = [p for p in cut(graph).passes if p.conv is None and p.window is None]
    assert alone.first is not None and alone.merge is None

    net = Builder((8, 8, 8), 8)
    graph = net.graph(net.mulshift(net.mulshift(net.matvec(net.input, 8), 8), 8))
    assert refusals(graph) == []


def test_every_multiplication_of_the_graph_is_in_a_pass() -> None:
    graph = residual_blocks()
    expected = sum(
        node.output.shape[0] * node.output.shape[1] * node.weight.size
        for node in graph.nodes
        if hasattr(node, "weight")
    )

    assert sum(p.macs for p in cut(graph).passes) == expected


@pytest.mark.parametrize(("bits", "stored"), [((4, 4), 4), ((3, 4), 4), ((4, 5), 8), ((5, 4), 8), ((8, 3), 8)])
def test_codes_of_up_to_four_bits_are_stored_in_four(bits: tuple[int, int], stored: int) -> None:
    """Where all are so narrow, the input's and those of the requantizers."""
    net = Builder((8, 8, 8), bits[0])
    assert cut(net.graph(net.matvec(net.mulshift(net.matvec(net.input, 8), bits[1]), 5))).act_bits == stored


def test_a_grouped_convolution_is_a_dense_one() -> None:
    """The engine's units read all channels; weights outside the groups are zeros."""
    net = Builder((8, 8, 8), 4)
    graph = net.graph(net.mulshift(net.grouped(net.window(net.input), 12, 4, taps=9), 4))
    (only,) = cut(graph).passes

    assert refusals(graph) == []
    assert only.conv is not None
    assert only.conv.weight.shape == (12, 3, 3, 8)
    assert np.count_nonzero(only.conv.weight) <= graph.nodes[1].weight.size


@pytest.mark.parametrize(("tables", "rows", "passes"), [(True, 1, 2), (False, 1, 3), (True, 8, 3)])
def test_a_line_of_codes_is_a_table_where_the_network_has_tables(tables: bool, rows: int, passes: int) -> None:
    """And all channels have the same line; else it takes a pass."""
    net = Builder((6, 6, 8), 8)
    codes = net.mulshift(net.matvec(net.input, 8), 8)
    line = net.mulshift(codes, 8, per_channel=rows > 1)
    x = net.mulshift(net.matvec(line, 8), 8)
    found = cut(net.graph(net.lookup(x, 8, per_channel=False) if tables else x)).passes
    assert len(found) == passes and (found[0].first is not None and found[0].first.curve is not None) == (passes == 2)


def test_thresholds_that_are_no_lines_are_refused() -> None:
    net = Builder((8, 8, 8), 4)
    graph = net.graph(net.matvec(net.threshold(net.matvec(net.input, 8)), 8))
    with pytest.raises(UserError) as failure:
        cut(graph)

    assert str(failure.value) == (
        "the engine cannot run it: its thresholds lie on no two lines [Threshold 'onnx_threshold1']; quantize in "
        "front of the function too, as 'fpgaflow quantize' does, or take ReLU"
    )
    assert refusals(graph)[0] == (failure.value.where, failure.value.what)


def test_every_refused_node_is_listed() -> None:
    """A dilated pool, thresholds at random, codes that are too wide."""
    net = Builder((8, 8, 8), 8)
    x = net.pool(net.window(net.input, (3, 3), dilation=(2, 2)), 9)
    x = net.mulshift(net.matvec(x, 8), 12)
    x = net.threshold(net.matvec(x, 8))
    graph = net.graph(net.matvec(x, 8))

    assert [(where.split("'")[0].strip(), what.removeprefix("the engine cannot run it: "))
            for where, what in refusals(graph)] == [
        ("MulShift", "its codes have 12 bits, 8 are stored"),
        ("Window", "its kernel or stride is not square, or it is dilated"),
        ("Pool", "no unit of the engine runs it"),
        ("Threshold", "its thresholds lie on no two lines"),
    ]  # fmt: skip


@pytest.mark.parametrize("factor", [3, np.arange(1, 9)])
def test_a_sum_with_a_factor_a_channel_is_refused(factor: Any) -> None:
    """The merge unit multiplies all channels of a branch alike."""
    net = Builder((8, 8, 8), 8)
    x = net.mulshift(net.matvec(net.input, 8), 8)
    graph = net.graph(net.mulshift(net.add(x, net.input, (1, factor)), 8, per_channel=False))

    found = [what for _, what in refusals(graph)]
    expected = "the engine cannot run it: its result has no quantizer common to all channels"
    assert found == ([] if np.ndim(factor) == 0 else [expected])


def test_maps_that_lie_otherwise_in_memory_are_refused() -> None:
    """A flattened map beside features, one in a join, features that a window or a product reads as a map."""
    net = Builder((4, 4, 6), 8)
    x = net.mulshift(net.matvec(net.input, 6), 8, per_channel=False)
    flat = net.reshape(x)
    features = net.mulshift(net.matvec(flat, 96), 8, per_channel=False)
    added = net.mulshift(net.add(features, flat), 8, per_channel=False)
    joined = net.concat(flat, features)
    image = net.reshape(features, (4, 4, 6))
    heads = (net.matvec(joined, 5), net.matvec(net.window(image, (3, 3)), 5), net.matvec(image, 5))
    flattened, mapped = "it reads a flattened map, which only products do", "it reads features as a map"

    found = [what.removeprefix("the engine cannot run it: ") for _, what in refusals(net.graph(added, "net", heads))]
    assert (found.count(flattened), found.count(mapped)) == (3, 1)


def _maps(net: Builder) -> tuple[Value, Value]:
    """Two maps of eight channels, the second one made of the first."""
    x = net.mulshift(net.conv(net.input, 8), 8)
    return x, net.mulshift(net.conv(x, 8), 8)


def _halved(net: Builder, x: Value) -> Value:
    return net.matvec(net.pool(net.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4), 5)


def _joined_with_signs(net: Builder) -> Value:
    x, _ = _maps(net)
    return net.matvec(net.concat(x, net.mulshift(net.conv(x, 8), 8, signed=True)), 5)


def _read_twice(net: Builder) -> Value:
    window = net.window(_maps(net)[0])
    both = net.mulshift(net.depthwise(window, 9), 8), net.mulshift(net.matvec(window, 8), 8)
    return net.matvec(net.mulshift(net.add(*both), 8, per_channel=False), 5)


@pytest.mark.parametrize(
    ("network", "op", "why"),
    [
        (_joined_with_signs, "Concat", "the zero points of its inputs differ, or some are signed and others not"),
        (
            lambda net: net.matvec(net.upsample(_maps(net)[0], edges=(1, 0, 0, 1)), 5), "Upsample",
            "it repeats positions beyond the map's edges",
        ),
        (
            lambda net: net.mulshift(net.multiply(net.input, _maps(net)[0]), 8), "Multiply",
            "its result has no quantizer common to all channels",
        ),
        (_read_twice, "Window", "no unit of the engine reduces it"),
        (lambda net: net.global_sum(_maps(net)[0]), "GlobalSum", "its sums are not quantized"),
        (
            lambda net: net.matvec(net.depthwise(net.window(_maps(net)[0]), 9), 5), "Depthwise",
            "its sums are not quantized",
        ),
        (lambda net: net.reshape(net.input), "", "no pass makes its answer 'x'"),
    ],
)  # fmt: skip
def test_what_no_unit_runs_is_refused_with_the_reason(network: Callable[[Builder], Value], op: str, why: str) -> None:
    net = Builder((8, 8, 8), 8)
    where, what = refusals(net.graph(network(net)))[0]
    assert (where.split("'")[0].strip(), what) == (op, f"the engine cannot run it: {why}")


def test_sums_that_are_an_answer_are_read_by_nothing_else() -> None:
    """They are stored in 32 bits, which units do not read; the host finds the largest of them."""
    net = Builder((1, 1, 8), 4)
    sums = net.matvec(net.input, 6)
    largest = net.argmax(sums)
    assert refusals(net.graph(sums, "net", (largest,))) == []
    answer = net.matvec(sums, 3)
    refused = [what for _, what in refusals(net.graph(sums, "net", (answer,)))]
    assert refused[0] == "the engine cannot run it: its sums are not quantized"


def test_averages_of_odd_zero_points_are_not_read_by_what_has_no_sign() -> None:
    """A maximum of them, or a bend behind their sum, has no factor to take the sign of negated codes."""
    odd = "it rounds halves to even codes, which are stored as odd ones: their zero point is odd"
    for reader in ("product", "maximum", "bend", "answer"):
        net = Builder((6, 6, 8), 8)
        x = averaged(net, shifted(net, net.matvec(net.input, 8), -91))
        if reader == "maximum":
            x = net.pool(net.window(x, (2, 2), pads=(0, 0, 0, 0)), 4)
        elif reader == "bend":
            x = stairs(net, net.global_sum(x), 8, leak=3)
        graph = net.graph(x if reader == "answer" else net.matvec(x, 5))
        assert [what for _, what in refusals(graph)] == (
            [] if reader == "product" else [f"the engine cannot run it: {odd}"]
        )


@pytest.mark.parametrize("read", ["requantizer", "product", "sum"])
def test_a_class_that_is_read_inside_is_no_work_of_the_host(read: str) -> None:
    """The engine has no index of the largest to read, be it an answer too."""
    net = Builder((1, 1, 8), 4)
    largest = net.argmax(net.mulshift(net.matvec(net.input, 6), 8))
    readers = {
        "requantizer": lambda: net.mulshift(largest, 4),
        "product": lambda: net.matvec(largest, 4),
        "sum": lambda: net.mulshift(net.add(largest, largest), 4, per_channel=False),
    }
    assert refusals(net.graph(largest)) == []
    assert refusals(net.graph(largest, "net", (readers[read](),)))[0] == (
        "ArgMax 'onnx_argmax2'",
        "the engine cannot run it: no unit of the engine runs it",
    )


def test_an_average_that_a_product_reads_as_a_sum_is_part_of_the_product() -> None:
    """As `train` leaves it in front of a fully connected layer; an answer needs a quantizer."""
    net = Builder((4, 4, 8), 4)
    total = net.global_sum(net.mulshift(net.matvec(net.input, 8), 4))
    (_, last) = cut(net.graph(net.matvec(total, 3))).passes
    assert last.conv is not None and last.conv.weight.shape == (3, 4, 4, 8)
    with pytest.raises(UserError) as failure:
        cut(net.graph(total))

    assert str(failure.value) == (
        "the engine cannot run it: its sums are not quantized [GlobalSum 'onnx_globalsum2']; put a quantizer behind it"
    )


def test_wide_codes_are_refused() -> None:
    net = Builder((8, 8, 8), 8)
    graph = net.graph(net.matvec(net.mulshift(net.matvec(net.input, 8), 12), 8))
    with pytest.raises(UserError) as failure:
        cut(graph)

    assert str(failure.value) == (
        "the engine cannot run it: its codes have 12 bits, 8 are stored [MulShift 'onnx_mulshift1']"
    )


@pytest.mark.parametrize("bits", [3, 4, 6, 7, 8])
def test_unpacking_undoes_packing(bits: int) -> None:
    """Codes that lie across the halves of a beat included."""
    count = 128 // bits
    codes = np.random.default_rng(0).integers(0, 1 << bits, (5, count))

    assert np.array_equal(unpack(pack(codes, bits), bits, count), codes)


def test_only_products_read_a_map_that_was_flattened() -> None:
    """A map lies position by position, which a convolution as large as the map reads; nothing else does."""
    net = Builder((3, 3, 2), 3, signed=True)
    graph = net.graph(net.matvec(net.mulshift(net.reshape(net.input), 3), 4))
    assert [what for _, what in refusals(graph)] == [
        "the engine cannot run it: it reads a flattened map, which only products do"
    ]
    net = Builder((3, 3, 2), 3, signed=True)
    assert refusals(net.graph(net.matvec(net.reshape(net.mulshift(net.input, 3)), 4))) == []
