"""Tokens as signals (N, tokens, features): layers over either axis in files of every form, and random networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.frontend.test_read_ops import assert_exact
from tests.onnx_models import Net
from tests.verdicts import demand_one_verdict
from toolchain.flow.coverage import check
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.maps import Reshape, Transpose, Upsample
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.lowering.pipeline import to_integer

TOKENS, FEATURES = 6, 4
Build = Callable[[Net, str], str]


def dense(net: Net, x: str, inputs: int, outputs: int, *, relu: bool = False) -> str:
    """A linear layer over the last axis and a quantizer."""
    weight = net.quant(
        net.const(net.rng.normal(0, 0.4, (inputs, outputs))), 4, net.rng.uniform(0.05, 0.2, (1, outputs))
    )
    x = net.add("Add", net.add("MatMul", x, weight), net.const(net.rng.normal(0, 0.5, outputs)))
    return net.quant(net.add("Relu", x) if relu else x, 4, 0.21, signed=int(not relu))


def turned(net: Net, x: str) -> str:
    return net.add("Transpose", x, perm=[0, 2, 1])


def mixed(net: Net, x: str) -> str:
    """Over the tokens, as PyTorch writes it."""
    return turned(net, dense(net, dense(net, turned(net, x), TOKENS, 9, relu=True), 9, TOKENS))


def from_the_left(net: Net, x: str) -> str:
    """The same as a constant times the tokens, with a bias a token."""
    weight = net.quant(net.const(net.rng.normal(0, 0.4, (5, TOKENS))), 4, net.rng.uniform(0.05, 0.2, (5, 1)))
    x = net.add("Add", net.add("MatMul", weight, x), net.const(net.rng.normal(0, 0.5, (5, 1))))
    return dense(net, net.quant(x, 4, 0.21), FEATURES, 3)


def residual(net: Net, x: str) -> str:
    x = net.add("Add", mixed(net, x), x)
    return net.quant(
        net.add("Add", net.quant(x, 4, 0.3), turned(net, dense(net, turned(net, x), TOKENS, TOKENS))), 5, 0.3
    )


def normed(net: Net, x: str) -> str:
    """Batch norms of the features, whose real values are turned, and of the tokens."""
    x = turned(net, net.batch_norm(turned(net, x), FEATURES))
    return net.quant(net.batch_norm(x, TOKENS), 4, 0.3)


def convolved(net: Net, x: str) -> str:
    """Tokens as the channels of a convolution along the features."""
    return net.quant(net.conv(x, net.weight(5, TOKENS, 3), pads=[1, 1]), 4, 0.3)


def scaled_apart(net: Net, x: str) -> str:
    """A scale and an offset a feature in front of a layer over the tokens."""
    x = net.quant(
        net.add("Add", x, net.const(net.rng.normal(0, 1, FEATURES))), 4, net.rng.choice([0.1, 0.2, 0.3], FEATURES)
    )
    return dense(net, turned(net, x), TOKENS, 3)


def layer_norm(net: Net, x: str, features: int = FEATURES, **attributes: float) -> str:
    """With factors of both signs, and a bias."""
    parameters = [net.const(net.rng.normal(0, 1, features)) for _ in range(2)]
    return net.quant(net.add("LayerNormalization", x, *parameters, **attributes), 4, 0.3)


def rms_norm(net: Net, x: str, form: str = "reciprocal", **attributes: float) -> str:
    """By the root of the mean square and by factors of both signs: as one node, or as the nodes of exporters."""
    if form == "node":
        x = net.add("RMSNormalization", x, net.const(net.rng.normal(0, 1, FEATURES)), **attributes)
        return net.quant(x, 4, 0.3)
    return net.quant(net.add("Mul", written_norm(net, x, form), net.const(net.rng.normal(0, 1, FEATURES))), 4, 0.3)


def written_norm(net: Net, x: str, form: str, axis: int = -1) -> str:
    """``x`` over the root of its mean square and 1e-4."""
    square = net.add("Mul", x, x) if form == "product" else net.add("Pow", x, net.const(2.0))
    mean = net.add("Add", net.add("ReduceMean", square, axes=[axis], keepdims=1), net.const(1e-4))
    if form == "power":
        return net.add("Mul", net.add("Pow", mean, net.const(-0.5)), x)
    root = net.add("Sqrt", mean)
    if form == "division":
        return net.add("Div", x, root)
    inverse = net.add("Div", net.const(1.0), root) if form == "product" else net.add("Reciprocal", root)
    return net.add("Mul", x, inverse)


def written_layer_norm(net: Net, x: str) -> str:
    """As below opset 17: less the mean, over the deviation, with factors of both signs and a bias."""
    apart = net.add("Sub", x, net.add("ReduceMean", x, axes=[-1], keepdims=1))
    x = net.add("Mul", written_norm(net, apart, "division"), net.const(net.rng.normal(0, 1, FEATURES)))
    return net.quant(net.add("Add", x, net.const(net.rng.normal(0, 1, FEATURES))), 4, 0.3)


def class_token(net: Net, x: str, *parts: int, placed: bool = False, axis: int = 1) -> str:
    """Constant tokens among those of ``x`` (0 in ``parts``), as many as each number says; perhaps places added."""
    shapes = ((1, n, FEATURES) if axis == 1 else (1, TOKENS, n) for n in parts)
    drawn = (net.const(net.rng.normal(0, 0.5, shape)) if shape[axis] else x for shape in shapes)
    x = net.add("Concat", *drawn, axis=axis)
    if placed:
        x = net.add("Add", x, net.const(net.rng.normal(0, 0.3, (1, TOKENS + sum(parts), FEATURES))))
    return net.quant(x, 5, 0.2)


def first_token(net: Net, x: str) -> str:
    """Tokens that see a class token, which alone is read."""
    x = attention(net, layer_norm(net, class_token(net, x, 1, 0, placed=True)), tokens=TOKENS + 1)
    return net.linear(net.add("Gather", x, net.const(0, np.int64), axis=1), FEATURES, 3)


def plain_norm(net: Net, x: str) -> str:
    """Of a flattened signal, without a bias."""
    x = net.add("Flatten", x)
    return net.quant(net.add("LayerNormalization", x, net.const(np.ones(TOKENS * FEATURES)), epsilon=0.1), 3, 0.4)


def in_heads(net: Net, x: str, perm: list[int], tokens: int = TOKENS) -> str:
    parted = net.add("Reshape", x, net.const([1, tokens, 2, FEATURES // 2], np.int64))
    return net.add("Transpose", parted, perm=perm)


def attention(net: Net, x: str, *, late: bool = False, shares: str = "Softmax", tokens: int = TOKENS) -> str:
    """Two heads; ``late``: quantized again by head, a factor a feature and a zero point."""
    q, k, v = (dense(net, x, FEATURES, FEATURES) for _ in range(3))
    forth = [0, 2, 1, 3]
    q, k, v = (in_heads(net, y, perm, tokens) for y, perm in ((q, forth), (k, [0, 2, 3, 1]), (v, forth)))
    if late:
        q = net.quant(q, 4, 0.3, 3)
        v = net.quant(net.add("Mul", v, net.const(net.rng.uniform(0.5, 1.5, FEATURES // 2))), 5, 0.1)
    scores = net.add("Mul", net.add("MatMul", q, k), net.const(0.7))
    scores = net.quant(net.add(shares, net.quant(scores, 6, 0.05)), 4, 0.1, signed=0)
    found = net.quant(net.add("MatMul", scores, v), 5, 0.1)
    found = net.add("Reshape", net.add("Transpose", found, perm=forth), net.const([1, tokens, FEATURES], np.int64))
    return dense(net, found, FEATURES, FEATURES)


def gram(net: Net, x: str, *, tokens: bool) -> str:
    """Products of a signal with itself: tokens with tokens, or features with features."""
    y = dense(net, x, FEATURES, FEATURES)
    pair = (x, turned(net, y)) if tokens else (turned(net, x), y)
    return dense(net, net.quant(net.add("MatMul", *pair), 5, 0.4), TOKENS if tokens else FEATURES, 3)


def a_number_each(net: Net, x: str) -> str:
    """A factor and an offset a token and feature, and an offset in the other view."""
    shape = (TOKENS, FEATURES)
    x = net.add("Mul", x, net.const(net.rng.uniform(0.5, 1.5, shape)))
    x = net.quant(net.add("Add", x, net.const(net.rng.normal(0, 0.5, (1, *shape)))), 5, 0.2)
    return net.quant(
        turned(net, net.add("Sub", turned(net, x), net.const(net.rng.normal(0, 0.5, shape[::-1])))), 5, 0.2
    )


def mean(axis: int) -> Build:
    def build(net: Net, x: str) -> str:
        return net.quant(net.add("ReduceMean", x, axes=[axis], keepdims=0), 6, 0.02)

    return build


CASES: dict[str, Build] = {
    "mixed": mixed,
    "mixed from the left": from_the_left,
    "a residual of both": residual,
    "norms of both": normed,
    "a convolution over the tokens": convolved,
    "a scale a feature": scaled_apart,
    "layer norm of the features": layer_norm,
    "layer norm of the tokens": lambda net, x: layer_norm(net, turned(net, x), TOKENS, epsilon=1e-3, axis=2),
    "layer norm of a sum": lambda net, x: layer_norm(net, net.add("Add", x, mixed(net, x))),
    "layer norm of a vector": plain_norm,
    "layer norm of scales apart": lambda net, x: layer_norm(net, net.quant(x, 4, [0.1, 0.2, 0.4, 0.2])),
    "a layer norm of several nodes": written_layer_norm,
    **{
        f"RMS norm as {form}": lambda net, x, form=form: rms_norm(net, x, form)
        for form in ("reciprocal", "product", "power", "division")
    },
    "RMS norm of codes with a zero point": lambda net, x: rms_norm(net, net.quant(x, 4, 0.3, 3)),
    "RMS norm of scales apart": lambda net, x: rms_norm(net, net.quant(x, 4, [0.1, 0.2, 0.4, 0.2])),
    "RMS norm of a sum": lambda net, x: rms_norm(net, net.add("Add", x, mixed(net, x))),
    "RMS norm of the tokens": lambda net, x: net.quant(written_norm(net, x, "division", 1), 5, 0.1),
    "a class token": lambda net, x: class_token(net, x, 1, 0),
    "a class token and places": lambda net, x: class_token(net, x, 1, 0, placed=True),
    "constant tokens on either side": lambda net, x: class_token(net, x, 2, 0, 1, placed=True),
    "constant tokens between tokens": lambda net, x: class_token(net, x, 1, 0, 2, 0, 1),
    "constant features of tokens": lambda net, x: class_token(net, x, 0, 2, axis=2),
    "a class token of wide numbers": lambda net, x: dense(
        net, class_token(net, net.add("Mul", x, net.const(0.7)), 1, 0), FEATURES, 3
    ),
    "a class token that is read": first_token,
    "heads": attention,
    "heads whose scores a ReLU cuts": lambda net, x: attention(net, x, shares="Relu"),
    "a softmax of the tokens": lambda net, x: net.quant(net.add("Softmax", turned(net, x)), 5, 0.05),
    "heads that are quantized": lambda net, x: attention(net, x, late=True),
    "tokens times tokens": lambda net, x: gram(net, x, tokens=True),
    "features times features": lambda net, x: gram(net, x, tokens=False),
    "a number a token and feature": a_number_each,
    "mean of the tokens": mean(1),
    "mean of the features": mean(2),
    "tokens joined": lambda net, x: dense(net, net.add("Concat", x, mixed(net, x), axis=1), FEATURES, 3),
    "features joined": lambda net, x: dense(net, net.add("Concat", x, mixed(net, x), axis=2), 2 * FEATURES, 3),
    "maps made into tokens": lambda net, x: mixed(
        net, turned(net, net.add("Reshape", turned(net, x), net.const([1, 4, 6], np.int64)))
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_over_tokens(case: str, tmp_path: Path) -> None:
    net = Net((1, TOKENS, FEATURES), seed=41, opset=17)
    path = net.save(tmp_path / "net.onnx", CASES[case](net, dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)))
    assert_exact(path)
    assert check(path).supported


def test_a_norm_of_opset_23_and_one_over_the_channels_of_a_map(tmp_path: Path) -> None:
    net = Net((1, TOKENS, FEATURES), seed=41, opset=23)
    x = dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)
    assert_exact(net.save(tmp_path / "node.onnx", rms_norm(net, x, "node", epsilon=0.01)))
    net = Net((1, 4, 5, 5), seed=3)
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(6, 4, 3, 3)), 6, 0.1)
    apart = net.add("Sub", x, net.add("ReduceMean", x, axes=[1], keepdims=1))
    path = net.save(tmp_path / "map.onnx", net.quant(written_norm(net, apart, "division", 1), 5, 0.1))
    assert_exact(path)
    assert check(path).supported


@pytest.mark.parametrize("part", ["square", "root"])
def test_a_norm_whose_inner_tensor_is_read_elsewhere_is_refused_as_it_is_written(part: str, tmp_path: Path) -> None:
    net = Net((1, TOKENS, FEATURES), seed=41)
    x = dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)
    y = rms_norm(net, x, "division")
    ops = {"square": "Pow", "root": "Sqrt"}
    inner = next(node.output[0] for node in net.nodes if node.op_type == ops[part])
    path = net.save(tmp_path / "net.onnx", y, inner)
    fault = demand_one_verdict(path)
    assert fault is not None and "the operation Sqrt is not supported" in fault.what


def test_a_tensor_is_turned_where_a_layer_reads_it_and_once(tmp_path: Path) -> None:
    """Transposes that meet cost nothing, nor does a batch norm of the features of a turned tensor."""
    net = Net((1, TOKENS, FEATURES), seed=42)
    x = dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)
    y = net.quant(net.batch_norm(turned(net, x), FEATURES), 4, 0.3)
    first, second = dense(net, y, TOKENS, 3), dense(net, y, TOKENS, 3)
    x = dense(net, turned(net, turned(net, x)), FEATURES, 3)
    path = net.save(tmp_path / "net.onnx", net.add("Concat", first, second, axis=2), x)
    nodes = to_integer(read_qonnx(path).graph).nodes
    assert [type(node) for node in nodes].count(Transpose) == 1


def test_a_class_token_and_places_are_numbers_of_the_quantizer_behind_them(tmp_path: Path) -> None:
    """Nothing wider than the codes in front, and no transposed stream."""
    net = Net((1, TOKENS, FEATURES), seed=42)
    x = dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)
    path = net.save(tmp_path / "net.onnx", dense(net, class_token(net, x, 1, 0, placed=True), FEATURES, 3))
    _, _, *nodes = to_integer(read_qonnx(path).graph).nodes
    moved = nodes[:2]
    assert [type(node) for node in moved] == [Upsample, Reshape]
    assert {node.output.qint.bits for node in moved} == {4}
    assert sum(isinstance(node, MulShift | Threshold) for node in nodes) == 2


STEPS: tuple[Callable[[Net, str], str], ...] = (
    lambda net, x: dense(net, x, FEATURES, FEATURES, relu=True),
    mixed,
    residual,
    lambda net, x: net.quant(turned(net, net.batch_norm(turned(net, x), FEATURES)), 4, 0.3),
    lambda net, x: net.quant(net.batch_norm(x, TOKENS), 4, 0.3),
    lambda net, x: net.quant(net.add("Mul", x, net.const(net.rng.uniform(0.5, 1.5, (TOKENS, 1)))), 5, 0.2),
    layer_norm,
    attention,
    a_number_each,
    lambda net, x: turned(net, layer_norm(net, turned(net, x), TOKENS)),
    lambda net, x: turned(net, net.quant(net.add("LeakyRelu", turned(net, x), alpha=0.25), 5, 0.2)),
)


def rows(net: Net, x: str, *, relu: bool = False, back: bool = True) -> str:
    """A linear layer as onnxruntime's optimizer writes it: a Gemm of the tokens, which are its first axis."""
    codes = net.const(0.1), net.const(3, np.uint8)
    x = net.add("Reshape", x, net.const([TOKENS, -1], np.int64))
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", x, *codes), *codes)
    weight = net.quant(net.const(net.rng.normal(0, 0.4, (5, FEATURES))), 4, net.rng.uniform(0.05, 0.2, (5, 1)))
    x = net.add("Gemm", x, weight, net.const(net.rng.normal(0, 0.5, 5)), transB=1)
    x = net.quant(net.add("Relu", x) if relu else x, 5, 0.3)
    return net.add("Reshape", x, net.const([1, TOKENS, 5], np.int64)) if back else x


@pytest.mark.parametrize("relu", [False, True])
def test_tokens_are_a_gemms_first_axis_where_the_batch_is_one(relu: bool, tmp_path: Path) -> None:
    net = Net((1, TOKENS, FEATURES), seed=46, opset=17)
    path = net.save(tmp_path / "net.onnx", dense(net, rows(net, net.quant("x", 6, 0.1), relu=relu), 5, 3))
    assert_exact(path)
    assert demand_one_verdict(path) is None


def test_positions_of_a_map_are_a_gemms_first_axis(tmp_path: Path) -> None:
    """As in ConvNeXt, whose maps have channels last there."""
    net = Net((1, FEATURES, 3, 2), seed=47, opset=17)
    x = net.quant(net.conv(net.quant("x", 6, 0.1), net.weight(4, 4, 1, 1)), 5, 0.2)
    x = rows(net, net.add("Transpose", x, perm=[0, 2, 3, 1]))
    x = net.add("Reshape", x, net.const([1, 3, 2, 5], np.int64))
    x = net.conv(net.add("Transpose", x, perm=[0, 3, 1, 2]), net.weight(3, 5, 3, 3), pads=[1] * 4)
    assert_exact(net.save(tmp_path / "net.onnx", net.quant(x, 5, 0.3)))


REFUSED: dict[str, tuple[Build, str]] = {
    "rows": (
        lambda net, x: net.add("Softmax", rows(net, x, back=False)),
        "it reads 't10', whose first axis has positions",
    ),
    "rows at the end": (
        lambda net, x: rows(net, x, back=False),
        "the output 't10' has positions as its first axis",
    ),
    "an offset without a mean": (
        lambda net, x: rms_norm(net, net.add("Add", x, net.const(0.75))),
        "the mean square of 4 integers of ",
    ),
    "constant features": (
        lambda net, x: net.quant(net.add("Concat", net.const(np.ones((1, 1, 3))), x, axis=1)),
        "operand 0 is a constant of shape (1, 1, 3) beside (1, 6, 4)",
    ),
    "a constant vector": (
        lambda net, x: net.quant(net.add("Concat", net.add("Flatten", x), net.const(np.ones((1, 3))), axis=1)),
        "operand 1 is a constant",
    ),
    "axis": (
        lambda net, x: layer_norm(net, x, axis=1),
        "axis=1 of a tensor (1, 6, 4); it is the last that",
    ),
    "parameters": (lambda net, x: layer_norm(net, x, 3), "its parameters do not fit 4 features"),
    "heads of other features": (
        lambda net, x: net.add("MatMul", in_heads(net, x, [0, 2, 1, 3]), in_heads(net, x, [0, 2, 1, 3])),
        "the product of (1, 2, 6, 2) and (1, 2, 6, 2)",
    ),
    "features in turns": (
        lambda net, x: net.add("MatMul", in_heads(net, x, [0, 2, 1, 3]), in_heads(net, x, [0, 3, 2, 1])),
        "whose elements are moved in front of it",
    ),
    "an output by head": (
        lambda net, x: net.quant(net.add("MatMul", in_heads(net, x, [0, 2, 1, 3]), in_heads(net, x, [0, 2, 3, 1]))),
        "is parted in heads",
    ),
    "a softmax over the heads": (
        lambda net, x: net.add(
            "Softmax",
            net.quant(net.add("MatMul", in_heads(net, x, [0, 2, 1, 3]), in_heads(net, x, [0, 2, 3, 1]))),
            axis=1,
        ),
        "Softmax along axis 1 of a tensor (1, 2, 6, 6)",
    ),
    "a softmax of sums": (
        lambda net, x: net.quant(
            net.add("Softmax", net.add("MatMul", net.quant(x, 8, 0.01), turned(net, net.quant(x, 8, 0.01)))), 5, 0.05
        ),
        "a Softmax of integers of ",
    ),
    "wide": (
        lambda net, x: layer_norm(net, net.add("Mul", x, net.const([1.0, 1.1, 1.01, 1.001]))),
        "the mean and the deviation of 4 integers of ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    build, what = REFUSED[case]
    net = Net((1, TOKENS, FEATURES), seed=44, opset=17)
    path = net.save(tmp_path / "net.onnx", build(net, dense(net, net.quant("x", 6, 0.1), FEATURES, FEATURES)))
    fault = demand_one_verdict(path)
    assert fault is not None and what in fault.what


@pytest.mark.parametrize("seed", range(12))
def test_random_mixers(seed: int, tmp_path: Path) -> None:
    """Steps over either axis in any order; what the file is said to be is what happens to it."""
    net = Net((1, TOKENS, FEATURES), seed=seed, opset=17)
    x = net.quant("x", 6, 0.1)
    for step in np.random.default_rng(seed).integers(0, len(STEPS), 4):
        x = STEPS[step](net, x)
    path = net.save(tmp_path / "net.onnx", x)
    assert_exact(path, 8)
    demand_one_verdict(path)
