"""Values of -1 and +1 become bits where their readers can take them; what the graph computes stays."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import Builder, conv_net, random_input
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.ir.encode import encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import GroupedMatVec, MatVec
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Encoding, InputType, QInt, Value
from toolchain.ir.verify import Level, verify
from toolchain.passes.pipeline import to_hardware
from toolchain.passes.recode_signs import recode_signs

SIGN, BIT = QInt(2, True), QInt(1, False)


def sign(b: Builder, x: Value, *, falling: bool = False) -> Value:
    """A bipolar quantizer, falling in every second channel if asked to."""
    b.threshold(x, 1)
    direction = np.where(np.arange(x.shape[2]) % 2 * falling, -1, 1)
    output = replace(b.nodes[-1].output, type=SIGN)
    b.nodes[-1] = replace(b.nodes[-1], start=-direction, step=2 * direction, outputs=(output,))
    return output


def binary_net(*, pads: int = 0, pad_value: int = 0) -> Graph:
    """Signed inputs, 1-bit layers with a pool and a flatten between them, a classifier of signs at the end."""
    b = Builder((10, 10, 3), 8, signed=True)
    edges = (pads, pads, pads, pads)
    x = sign(b, b.matvec(b.window(b.input), 8, 2))
    x = sign(b, b.matvec(b.window(x, pads=edges, pad_value=pad_value), 6, 2), falling=True)
    x = b.pool(b.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    x = sign(b, b.mulshift(b.matvec(b.reshape(x), 12, 2), 6, signed=True))
    graph = b.graph(b.matvec(x, 5, 2))
    for i, node in enumerate(graph.nodes):
        if isinstance(node, MatVec):
            b.nodes[i] = replace(node, weight=np.where(node.weight < 0, -1, 1))
    return graph.with_nodes(b.nodes)


def grouped_binary_net() -> Graph:
    """A grouped 1-bit convolution and a grouped 1 x 1 one."""
    b = Builder((6, 6, 3), 8, signed=True)
    x = sign(b, b.matvec(b.input, 8, 2))
    x = sign(b, b.grouped(b.window(x, pads=(0, 0, 0, 0)), 12, 4, 2, taps=9), falling=True)
    x = b.mulshift(b.grouped(x, 6, 2, 2), 6, signed=True)
    graph = b.graph(b.matvec(x, 5, 2))
    for i, node in enumerate(graph.nodes):
        if isinstance(node, GroupedMatVec):
            b.nodes[i] = replace(node, weight=np.where(node.weight < 0, -1, 1))
    return graph.with_nodes(b.nodes)


def types(graph: Graph) -> dict[str, QInt]:
    return {name: value.qint for name, value in graph.values().items()}


def test_the_recoded_graph_computes_the_same() -> None:
    graph = binary_net()
    recoded = recode_signs(graph)
    x = random_input(graph, 20, seed=1)

    verify(recoded, Level.INTEGER)
    np.testing.assert_array_equal(evaluate(recoded, x)[recoded.output], evaluate(graph, x)[graph.output])


def test_signs_are_bits_except_where_the_output_is_their_product() -> None:
    """Window, pool and flatten carry one bit; the values that the classifier multiplies stay numbers."""
    before, after = types(binary_net()), types(recode_signs(binary_net()))
    kinds = [name.split("_")[0].rstrip("0123456789") for name in before if before[name] != after[name] == BIT]

    assert kinds == ["threshold", "window", "threshold", "window", "pool", "reshape"]
    assert [name for name in after if after[name] == SIGN] == ["threshold11_out"]


def test_a_pad_that_is_no_sign_keeps_the_numbers() -> None:
    """Zeros around a map of signs are a third value; pads of -1 are recoded with it."""
    with_zeros, with_signs = recode_signs(binary_net(pads=1)), recode_signs(binary_net(pads=1, pad_value=-1))
    x = random_input(with_signs, 5, seed=2)

    assert types(with_zeros)["threshold2_out"] == SIGN
    assert types(with_signs)["threshold2_out"] == BIT
    np.testing.assert_array_equal(
        evaluate(with_signs, x)[with_signs.output],
        evaluate(binary_net(pads=1, pad_value=-1), x)[with_signs.output],
    )


def test_other_graphs_stay_as_they_are() -> None:
    graph = conv_net()

    assert recode_signs(graph) is graph


def test_grouped_products_take_bits() -> None:
    graph = grouped_binary_net()
    recoded = recode_signs(graph)
    x = random_input(graph, 20, seed=1)

    verify(recoded, Level.INTEGER)
    assert [types(recoded)[n.inputs[0]] for n in recoded.nodes if isinstance(n, GroupedMatVec)] == [BIT, BIT]
    np.testing.assert_array_equal(evaluate(recoded, x)[graph.output], evaluate(graph, x)[graph.output])


@pytest.mark.parametrize("pads", [0, 1])
def test_plans_are_made_for_the_bits(pads: int) -> None:
    graph = binary_net(pads=pads)
    hardware = to_hardware(graph, explore(graph, load_board("zu3eg")))
    x = random_input(graph, 5, seed=3)

    assert BIT in types(hardware).values()
    np.testing.assert_array_equal(evaluate(hardware, x)[hardware.output], evaluate(graph, x)[graph.output])


@pytest.mark.parametrize("pads", [0, 1])
def test_a_bipolar_input_is_sent_as_bits_where_nothing_pads_it_with_zeros(pads):
    """The host encodes -1 and +1 as 0 and 1 then; the network computes the same from either."""
    b = Builder((6, 6, 3), 2, signed=True)
    x = b.matvec(b.window(b.input, pads=(pads,) * 4), 4, 3)
    signs = b.graph(b.matvec(b.threshold(x, 4), 3, 2))
    signs = replace(signs, encoding=Encoding(InputType(-1, 1, bipolar=True)))
    bits = recode_signs(signs)
    images = random_inputs(signs.encoding, (8, *signs.input.shape))

    assert bits.input.type == (BIT if not pads else SIGN)
    assert bits.encoding.signs_as_bits == (not pads)
    np.testing.assert_array_equal(encode(bits, images), images if pads else (images + 1) // 2)
    answers = [evaluate(verify(g, Level.INTEGER), encode(g, images))[g.output] for g in (signs, bits)]
    np.testing.assert_array_equal(*answers)
    assert recode_signs(bits) is bits


def test_channels_of_unlike_sums_keep_the_range_of_their_requantizer() -> None:
    """The bits' products reach beyond the signs' in a channel whose weights have another sum; no channel's result does.

    A requantizer that clips nothing states the range of what it can give, and the recoded one gives no more.
    """
    b = Builder((1, 1, 4), 8, signed=True)
    x = sign(b, b.matvec(b.input, 4, 2))
    weight = np.array([[1, 1, 1, 1], [-1, -1, -1, -1], [1, -1, 1, -1]])
    b.append(MatVec, (x,), (1, 1, 3), weight=weight, weight_type=SIGN)
    x = replace(b.nodes[-1].output, type=QInt.holding(-4, 4))
    b.nodes[-1] = replace(b.nodes[-1], outputs=(x,))
    wide = {"shift": 0, "low": -128, "high": 127}
    x = b.append(MulShift, (x,), x.shape, mul=np.ones(1, np.int64), add=np.zeros(1, np.int64), **wide)
    graph = b.graph(b.matvec(x, 2, 2))
    recoded = recode_signs(graph)
    images = random_input(graph, 40, seed=4)

    assert types(recoded)["threshold1_out"] == BIT
    verify(recoded, Level.INTEGER)
    np.testing.assert_array_equal(evaluate(recoded, images)[graph.output], evaluate(graph, images)[graph.output])
