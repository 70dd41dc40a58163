"""Every rule of the verifier is broken once, by one fact of a graph that obeys it, and told."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.graphs import Builder, conv_net
from tests.hardware import serial
from tests.model_graphs import ModelBuilder
from toolchain.ir import verify as verifier
from toolchain.ir.graph import Graph, Output, rewrite_nodes
from toolchain.ir.ops import products
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.multiply import Multiply
from toolchain.ir.ops.pools import GlobalMax
from toolchain.ir.ops.wiring import Fork
from toolchain.ir.rules import MOST, IllFormed
from toolchain.ir.types import Encoding, InputType, Parallelism, QInt, Real, Shape, Value
from toolchain.ir.verify import Level, verify

Build = Callable[[Builder], Any]


def _pooled(b: Builder) -> Value:
    return b.pool(b.window(b.input, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)


def _fork(b: Builder) -> None:
    b.nodes.append(Fork(name="fork", inputs=("x",), outputs=(replace(b.input, name="y"), replace(b.input, name="z"))))


def _largest(b: Builder) -> Value:
    return b.append(GlobalMax, (b.input,), (1, 1, 4))


def _multiplied_by_one_position(b: Builder) -> Value:
    return b.append(Multiply, (b.input, _largest(b)), b.input.shape, factor=b.input.type, once=True)


def _sum(b: Builder) -> Value:
    return b.add(b.input, b.input)


def _join(b: Builder) -> Value:
    return b.concat(b.input, b.input)


def _product(b: Builder) -> Value:
    left, right = (b.reshape(b.input, (1, 16, 4)) for _ in range(2))
    return b.matmul(left, right, 2)


ONES = np.ones(4, dtype=np.int64)
S5 = QInt(5, True)

RULES: list[tuple[Build, str, dict[str, Any]]] = [
    (_sum, "shapes are equal", {"shape": (4, 4, 3)}),
    (_sum, "one entry or one a channel", {"multipliers": (ONES[:3], ONES[:1])}),
    (lambda b: b.argmax(b.global_sum(b.input)), "takes (1, 1, C)", {"x": (4, 4, 4)}),
    (lambda b: b.reshape(b.input), "joins, parts or keeps positions", {"shape": (1, 1, 63)}),
    (lambda b: b.reshape(b.input, (1, 16, 4)), "joins, parts or keeps positions", {"shape": (1, 8, 6)}),
    (_join, "channels are (4, 4)", {"x": (4, 4, 5)}),
    (_join, "maps are of one size", {"x": (4, 3, 4)}),
    (_join, "output shape", {"shape": (4, 4, 9)}),
    (lambda b: b.slice(b.input, 1, 3), "output shape", {"shape": (4, 3, 3)}),
    (lambda b: b.slice(b.input, 1, 3), "the input has the channels", {"start": 2}),
    (lambda b: b.slice(b.input, 1, 3), "the input has the channels", {"start": -1}),
    (lambda b: b.upsample(b.input), "output shape", {"shape": (8, 7, 4)}),
    (lambda b: b.upsample(b.input, (1, 1)), "output shape", {"edges": (-1, 0, 1, 0)}),
    (lambda b: b.depth_to_space(b.input), "output shape", {"shape": (8, 8, 2)}),
    (lambda b: b.depth_to_space(b.input), "output shape", {"shape": (9, 8, 1)}),
    (lambda b: b.space_to_depth(b.input), "output shape", {"shape": (2, 2, 4)}),
    (lambda b: b.crop(b.input, (1, 0), (3, 4)), "output shape", {"shape": (3, 4, 3)}),
    (lambda b: b.crop(b.input, (1, 0), (3, 4)), "steps are positive", {"steps": (0, 1)}),
    (lambda b: b.crop(b.input, (1, 0), (3, 4)), "the input has the positions", {"start": (2, 0)}),
    (lambda b: b.crop(b.input, (1, 0), (3, 4)), "the input has the positions", {"start": (1, -1)}),
    (lambda b: b.permute(b.input, (1, 0, 3, 2)), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.permute(b.input, (1, 0, 3, 2)), "the order holds every channel once", {"order": (1, 0, 3, 3)}),
    (lambda b: b.transpose(b.input), "output shape", {"shape": (1, 4, 15)}),
    (_product, "the channels are those of heads", {"heads": 3}),
    (_product, "both have the terms of a sum", {"x": (1, 16, 6)}),
    (_product, "output shape", {"shape": (1, 16, 33)}),
    (_product, "the second operand is s5", {"factor": S5}),
    (lambda b: b.multiply(b.input, b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.multiply(b.input, b.input), "shapes fit", {"once": True}),
    (_multiplied_by_one_position, "one position is multiplied as a map", {"x": (1, 1, 4), "shape": (1, 1, 4)}),
    (lambda b: b.multiply(b.input, b.input), "the factor is s5", {"factor": S5}),
    (lambda b: b.norm(b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.norm(b.input), "there are several channels", {"x": (4, 4, 1), "shape": (4, 4, 1)}),
    (lambda b: b.norm(b.input), "the reciprocal is long enough", {"reciprocal": -1}),
    (lambda b: b.norm(b.input), "epsilon is not negative", {"epsilon": -1}),
    (lambda b: b.norm(b.input), "its products fit 62 bits", {"type": QInt(31, True), "reciprocal": 90}),
    (_pooled, "kind is max or sum", {"kind": "mean"}),
    (_pooled, "taps fit the window", {"taps": 3}),
    (_pooled, "output shape", {"shape": (2, 1, 4)}),
    (lambda b: b.global_sum(b.input), "output shape", {"shape": (1, 2, 4)}),
    (_largest, "output shape", {"shape": (1, 2, 4)}),
    (lambda b: b.matvec(b.input, 3), "weight takes 4 inputs, the value has 5", {"x": (4, 4, 5)}),
    (lambda b: b.matvec(b.input, 3), "output shape", {"shape": (4, 4, 4)}),
    (lambda b: b.matvec(b.input, 3), "weights are int64", {"weight": np.ones((3, 4), dtype=np.int32)}),
    (lambda b: b.matvec(b.input, 3), "weights fit s4", {"weight": np.full((3, 4), 8)}),
    (lambda b: b.matvec(b.input, 3), "weights fit s4", {"weight": np.full((3, 4), -9)}),
    (lambda b: b.grouped(b.input, 4, 2), "every group has as many outputs", {"groups": 3}),
    (lambda b: b.depthwise(b.window(b.input), 9), "weight fits the window", {"x": (4, 4, 35)}),
    (lambda b: b.row_conv(b.input, 3, taps=3, pad=1), "the pad is 0 or half of taps - 1", {"pad": 2}),
    (lambda b: b.threshold(b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.threshold(b.input), "one entry or one a channel", {"start": ONES[:3]}),
    (lambda b: b.threshold(b.input), "thresholds ascend", {"thresholds": np.array([[1, 0, 2]])}),
    (lambda b: b.threshold(b.input), "one step or one a threshold", {"step": np.ones((1, 2), dtype=np.int64)}),
    (lambda b: b.mulshift(b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.mulshift(b.input), "one entry or one a channel", {"add": ONES[:3]}),
    (lambda b: b.mulshift(b.input), "its numbers fit 62 bits", {"mul": ONES * MOST}),
    (lambda b: b.mulshift(b.input), "the base is even", {"base": ONES}),
    (lambda b: b.mulshift(b.input), "shift and limits are in order", {"shift": 63}),
    (lambda b: b.mulshift(b.input), "shift and limits are in order", {"shift": -1}),
    (lambda b: b.mulshift(b.input), "shift and limits are in order", {"low": 9, "high": 8}),
    (lambda b: b.mulshift(b.input), "the limits fit 62 bits", {"high": MOST}),
    (lambda b: b.mulshift(b.input), "the limits fit 62 bits", {"high": MOST - 2, "base": 2 * ONES}),
    (lambda b: b.lookup(b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.lookup(b.input), "one table or one a channel", {"table": np.zeros((3, 16), dtype=np.int64)}),
    (lambda b: b.lookup(b.input), "the table has every u4", {"low": 1}),
    (lambda b: b.lookup(b.input), "the table has every u4", {"table": np.zeros((1, 15), dtype=np.int64)}),
    (lambda b: b.softmax(b.input), "keeps the shape", {"shape": (4, 4, 5)}),
    (lambda b: b.softmax(b.input), "the channels are those of heads", {"heads": 3}),
    (lambda b: b.softmax(b.input), "an entry for every difference", {"type": QInt(5, False)}),
    (lambda b: b.softmax(b.input), "the first entry is one", {"fraction": 29}),
    (lambda b: b.softmax(b.input), "the entries fall", {"table": np.array([1 << 28, *[1] * 14, 2])}),
    (lambda b: b.softmax(b.input), "the entries fall", {"table": np.array([1 << 28, *[0] * 14, -1])}),
    (
        lambda b: b.softmax(b.input), "its entries are fine enough",
        {"fraction": 27, "table": np.array([1 << 27, *[0] * 15])},
    ),
    (
        lambda b: b.softmax(b.input), "its numbers fit 62 bits",
        {"fraction": 37, "table": np.array([1 << 37, *[0] * 15])},
    ),
    (lambda b: b.window(b.input), "pads are smaller than the kernel", {"pads": (3, 1, 1, 1)}),
    (lambda b: b.window(b.input), "window shape", {"shape": (4, 3, 36)}),
    (lambda b: b.window(b.input), "the input type holds the pad value", {"pad_value": 16}),
    (lambda b: b.window(b.input), "the input type holds the pad value", {"pad_value": -1}),
    (_fork, "keeps the shape", {"shape": (4, 4, 5)}),
]  # fmt: skip
"""A node, the rule, and what breaks it: fields, the ``shape`` of the output, ``x`` and ``type`` of the first input."""


@pytest.mark.parametrize(("build", "rule", "facts"), RULES, ids=[f"{i}-{rule}" for i, (_, rule, _) in enumerate(RULES)])
def test_a_node_that_breaks_a_rule_is_told_it(build: Build, rule: str, facts: dict[str, Any]) -> None:
    b, facts = Builder((4, 4, 4), 4), dict(facts)
    build(b)
    node, values = b.nodes[-1], {b.input.name: b.input} | {v.name: v for n in b.nodes for v in n.outputs}
    first, *others = (values[name] for name in node.inputs)
    node.check(first, *others)
    shape: Shape = facts.pop("shape", node.outputs[0].shape)
    first = replace(first, shape=facts.pop("x", first.shape), type=facts.pop("type", first.type))
    broken = replace(node, outputs=(replace(node.outputs[0], shape=shape), *node.outputs[1:]), **facts)
    with pytest.raises(IllFormed, match=f"^{node.name}: {re.escape(rule)}$"):
        broken.check(first, *others)


INTEGER = conv_net(size=4)
HARDWARE = serial(INTEGER)


def _with(graph: Graph, name: str, /, **facts: Any) -> Graph:
    return rewrite_nodes(graph, lambda node: replace(node, **facts) if node.name == name else node)


def _output(graph: Graph, name: str, /, **facts: Any) -> Graph:
    """``graph`` with another output value of the node ``name``."""
    (node,) = (node for node in graph.nodes if node.name == name)
    return _with(graph, name, outputs=(replace(node.output, **facts),))


def _forked() -> Graph:
    b = Builder((4, 4, 4), 4)
    _fork(b)
    return b.graph(b.nodes[-1].outputs[0])


def _coded_reals() -> Graph:
    """A MODEL graph whose ReLU has codes."""
    b = ModelBuilder((4, 4, 2))
    b.relu("x")
    graph = b.graph()
    return _output(graph, graph.nodes[0].name, type=QInt(8, False))


FIRST, SECOND = INTEGER.nodes[0], INTEGER.nodes[1]
GRAPH_RULES: list[tuple[Graph, Level, str]] = [
    (replace(INTEGER, input=replace(INTEGER.input, type=Real())), Level.INTEGER, "x: the input is an integer"),
    (
        replace(INTEGER, encoding=Encoding(InputType(0, 256))), Level.INTEGER,
        "x: u8 holds every input code",
    ),
    (replace(INTEGER, encoding=Encoding(InputType(-1, 9))), Level.INTEGER, "x: u8 holds every input code"),
    (_forked(), Level.INTEGER, "fork: Fork is no integer operation"),
    (_with(INTEGER, FIRST.name, name="a-b"), Level.INTEGER, "a-b: name is a C identifier"),
    (_with(INTEGER, SECOND.name, name=FIRST.name), Level.INTEGER, f"{FIRST.name}: name is unique"),
    (
        _with(INTEGER, FIRST.name, inputs=("later",)), Level.INTEGER,
        f"{FIRST.name}: reads 'later', which no earlier node defines",
    ),
    (_output(INTEGER, FIRST.name, name="a.b"), Level.INTEGER, "a.b: name is a C identifier"),
    (_output(INTEGER, FIRST.name, name="x"), Level.INTEGER, "x: is defined once"),
    (_output(INTEGER, FIRST.name, shape=(4, 0, 18)), Level.INTEGER,
     f"{FIRST.output.name}: shape is (H, W, C), none empty"),
    (_output(INTEGER, SECOND.name, type=QInt(3, True)), Level.INTEGER, f"{SECOND.name}: output s3 holds -13770..12240"),
    (replace(INTEGER, outputs=()), Level.INTEGER, "conv_net: has an output"),
    (replace(INTEGER, outputs=(Output("out", "nowhere"),)), Level.INTEGER, "nowhere: output is defined"),
    (
        replace(INTEGER, outputs=(Output("o-ut", INTEGER.output),)), Level.INTEGER,
        "o-ut: name of the output is a C identifier",
    ),
    (
        replace(INTEGER, outputs=(Output("out", INTEGER.output), Output("out", INTEGER.output))), Level.INTEGER,
        "out: name of the output is unique",
    ),
    (_coded_reals(), Level.MODEL, "relu0_out: type u8 at Level.MODEL"),
    (replace(INTEGER, encoding=None), Level.INTEGER, "conv_net: has an encoding"),
    (
        replace(HARDWARE, outputs=(*HARDWARE.outputs, Output("more", HARDWARE.input.name))), Level.HARDWARE,
        "x: every stream has one reader",
    ),
    (
        _output(HARDWARE, HARDWARE.nodes[0].name, depth=1), Level.HARDWARE,
        f"{HARDWARE.nodes[0].output.name}: every stream has a depth of at least 2",
    ),
    (
        _output(HARDWARE, HARDWARE.nodes[0].name, depth=None), Level.HARDWARE,
        f"{HARDWARE.nodes[0].output.name}: every stream has a depth of at least 2",
    ),
    (
        _with(HARDWARE, HARDWARE.nodes[-1].name, parallelism=None), Level.HARDWARE,
        f"{HARDWARE.nodes[-1].name}: has its parallelism set",
    ),
    (
        _with(HARDWARE, HARDWARE.nodes[-1].name, parallelism=Parallelism(3, 1)), Level.HARDWARE,
        f"{HARDWARE.nodes[-1].name}: reads 3 lanes of '{HARDWARE.nodes[-1].inputs[0]}', which has ",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("graph", "level", "message"), GRAPH_RULES, ids=[rule for *_, rule in GRAPH_RULES])
def test_a_graph_that_breaks_a_rule_is_told_it(graph: Graph, level: Level, message: str) -> None:
    with pytest.raises(IllFormed, match=f"^{re.escape(message)}"):
        verify(graph, level)


def test_graphs_that_break_no_rule_are_returned() -> None:
    assert verify(INTEGER, Level.INTEGER) is INTEGER
    assert verify(HARDWARE, Level.HARDWARE) is HARDWARE


def test_integers_of_63_bits_are_refused() -> None:
    """2**62 - 1 is the largest; one more leaves no room for a sum of two in 64 bits."""
    b = Builder((1, 1, 1), 8, signed=True)
    b.mulshift(b.input)
    line = {"mul": ONES[:1] << 54, "add": ONES[:1] << 60, "shift": 0, "low": 0, "high": MOST - 1}
    large = replace(b.nodes[0], **line, outputs=(replace(b.nodes[0].output, type=QInt(62, False)),))
    graph = b.graph(large.output).with_nodes([large])
    assert verify(graph, Level.INTEGER) is graph
    doubled = Add(
        name="sum",
        inputs=(large.output.name, large.output.name),
        outputs=(Value("y", (1, 1, 1), QInt(63, False)),),
        multipliers=(ONES[:1], ONES[:1]),
    )
    with pytest.raises(IllFormed, match="^sum: its integers fit 62 bits$"):
        verify(graph.with_nodes([large, doubled]), Level.INTEGER)


def test_every_rule_is_broken_above() -> None:
    """Of the operations and of graphs, those with a number in them by what they begin with."""
    told = [rule for _, rule, _ in RULES] + [message.split(": ", 1)[1] for *_, message in GRAPH_RULES]
    missing = []
    for path in (*Path(products.__file__).parent.glob("*.py"), Path(verifier.__file__)):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "require":
                rule = call.args[2]
                parts = (
                    [rule] if isinstance(rule, ast.Constant) else rule.values if isinstance(rule, ast.JoinedStr) else []
                )
                words = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
                if not any(all(word in message for word in words) for message in told):
                    missing.append(words)
    assert missing == [["its integers fit 62 bits"]], "but for the test above"
