"""Float ONNX files with channels last, as tf2onnx writes Keras' networks: what onnxruntime computes, or a refusal."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from tests.train.ptq.test_onnx_source import File, _ints, _number
from toolchain.errors import UserError
from toolchain.train.ptq.onnx_source import read_float_onnx

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]
MAP, GREY = (8, 6, 3), (8, 6, 1)


def _conv(file: File, outputs: int = 4, inputs: int = 3) -> str:
    """A convolution between Transposes."""
    file.add("Transpose", perm=FIRST)
    file.add("Conv", file.weight(outputs, inputs, 3, 3), auto_pad="SAME_UPPER")
    return file.add("Transpose", perm=LAST)


def _classifier(file: File) -> None:
    """Moments of the pixels, convolutions behind one Transpose, and a flatten behind another."""
    file.add("Mul", _number(file, 1 / 255))
    file.add("Sub", file.last, file.weight(3))
    file.add("Transpose", perm=FIRST)
    file.add("Conv", file.weight(4, 3, 3, 3), file.weight(4), auto_pad="SAME_UPPER")
    file.add("Relu")
    file.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    file.add("Transpose", perm=LAST)
    file.add("Relu", file.add("Reshape", _ints(file, -1, 48)))
    file.add("MatMul", file.weight(48, 5))
    file.add("Softmax", file.add("Add", file.last, file.weight(5)))


def _padded(file: File) -> None:
    file.add("Pad", _ints(file, 0, 1, 0, 0, 0, 0, 1, 0))
    file.add("Gemm", file.add("Reshape", _conv(file, outputs=1), _ints(file, -1, 63)), file.weight(63, 5))


def _grey(file: File) -> None:
    """Reshapes of a single channel that are Transposes."""
    file.add("Reshape", _ints(file, -1, 1, 8, 6))
    file.add("Conv", file.weight(1, 1, 3, 3), auto_pad="SAME_UPPER")
    file.add("Relu", file.add("Reshape", _ints(file, 0, 8, 6, 1)))
    file.add("Gemm", file.add("Flatten"), file.weight(5, 48), transB=1)


def _blocks(file: File) -> None:
    """Every layer has its Transposes; sums, joins, pads, biases and a mean have channels last."""
    _conv(file)
    first = file.add("Relu", file.add("Add", file.last, file.weight(4)))
    second = file.add("Mul", _conv(file, inputs=4), file.weight(1, 1, 4))
    joined = file.add("Concat", file.add("Add", first, second), second, axis=3)
    file.add("Pad", joined, _ints(file, 0, 1, 0, 0, 0, 0, 2, 0))
    file.add("Transpose", perm=FIRST)
    file.add("Transpose", file.add("AveragePool", kernel_shape=[2, 2]), perm=LAST)
    file.add("ReduceMean", _ints(file, 1, -2), keepdims=0)
    file.add("Gemm", file.weight(8, 3))


def _dense(file: File) -> None:
    """A fully connected layer at every position."""
    _conv(file)
    file.add("MatMul", file.weight(4, 6))
    file.add("Relu", file.add("Add", file.last, file.weight(6)))
    file.add("ReduceMean", _ints(file, 1, 2), keepdims=0)


def _listed(file: File) -> None:
    """Dense layers at every position, as Keras writes them: over a list of all positions."""
    start = _conv(file)
    file.add("MatMul", file.add("Reshape", _ints(file, -1, 4)), file.weight(4, 6))
    file.add("Relu", file.add("Add", file.last, file.weight(6)))
    file.add("Gemm", file.weight(4, 6), file.weight(4), transB=1, alpha=0.5, beta=2.0)
    file.add("Add", file.add("Reshape", file.last, _ints(file, -1, 8, 6, 4)), start)
    file.add("ReduceMean", _ints(file, 1, 2), keepdims=0)


def _flat_numbers(file: File) -> None:
    """Numbers for each feature of a flattened map."""
    _conv(file)
    file.add("Mul", file.add("Flatten"), file.weight(192))
    file.add("Relu", file.add("Sub", file.weight(1, 192), file.last))
    file.add("Gemm", file.weight(192, 5))


def _convnext(file: File) -> None:
    """A block of ConvNeXt, as torch's exporters write it."""
    start = _conv(file)
    file.add("LayerNormalization", start, file.weight(4), file.weight(4), axis=-1, epsilon=1e-6)
    file.add("Add", file.add("MatMul", file.last, file.weight(4, 8)), file.weight(8))
    file.add("MatMul", file.add("Relu"), file.weight(8, 4))
    file.add("Add", start, file.add("Mul", file.last, file.weight(4)))
    file.add("ReduceMean", _ints(file, 1, 2), keepdims=0)
    file.add("Gemm", file.add("LayerNormalization", file.weight(4)), file.weight(4, 5))


def _written_norm(file: File) -> None:
    """A norm of the channels in front, with a Sqrt and a quotient."""
    file.add("Transpose", perm=FIRST)
    x = file.add("Conv", file.weight(4, 3, 1, 1))
    apart = file.add("Sub", x, file.add("ReduceMean", _ints(file, 1)))
    file.add("ReduceMean", file.add("Pow", apart, _number(file, 2)), _ints(file, 1))
    file.add("Div", apart, file.add("Sqrt", file.add("Add", file.last, _number(file, 1e-6))))
    file.add("Add", file.add("Mul", file.last, file.weight(4, 1, 1)), file.weight(4, 1, 1))


def _excite(file: File) -> None:
    x = _conv(file)
    file.add("ReduceMean", _ints(file, 1, 2))
    file.add("Squeeze", _ints(file, 1, 2))
    file.add("Reshape", _ints(file, -1, 1, 1, 4))
    gate = file.add("Sigmoid", _conv(file, inputs=4))
    file.add("Transpose", file.add("Mul", x, gate), perm=FIRST)


def _excite_features(file: File, *, at_once: bool) -> None:
    """With Dense layers, whose result Keras reshapes, or unsqueezes axis after axis."""
    x = _conv(file)
    file.add("ReduceMean", _ints(file, 1, 2), keepdims=0)
    file.add("Sigmoid", file.add("Gemm", file.weight(4, 4), file.weight(4)))
    if at_once:
        file.add("Reshape", _ints(file, -1, 1, 1, 4))
    else:
        file.add("Unsqueeze", file.add("Unsqueeze", _ints(file, 1)), _ints(file, 1))
    file.add("ReduceMean", file.add("Mul", x, file.last), _ints(file, 1, 2), keepdims=0)


def _written_gelu(file: File) -> None:
    """Keras' GELU by tanh: tf2onnx puts Transposes around its cube."""
    file.add("Transpose", perm=FIRST)
    x = file.add("Conv", file.weight(4, 3, 1, 1))
    file.add("Pow", file.add("Transpose", perm=LAST), _number(file, 3))
    file.add("Transpose", file.add("Mul", file.last, _number(file, 0.044715)), perm=FIRST)
    file.add("Mul", file.add("Add", x, file.last), _number(file, (2 / np.pi) ** 0.5))
    gate = file.add("Add", file.add("Tanh"), file.constant(np.ones((1, 1, 1, 1), np.float32)))
    file.add("Mul", file.add("Mul", x, _number(file, 0.5)), gate)


def _written_prelu(file: File, *slopes: float) -> None:
    """Keras' PReLU, as tf2onnx writes it: relu(x) - slopes * relu(-x)."""
    x = _conv(file)
    positive = file.add("Relu")
    file.add("Relu", file.add("Neg", x))
    file.add("Mul", file.last, file.constant(-np.float32(slopes)))
    file.add("Flatten", file.add("Add", positive, file.last))
    file.add("Gemm", file.weight(192, 3))


def _written_silu(file: File) -> None:
    x = _conv(file)
    file.add("Mul", x, file.add("Sigmoid"))
    file.add("ReduceMax", _ints(file, 1), keepdims=0)
    file.add("ReduceMax", _ints(file, 1), keepdims=0)


CASES: dict[str, tuple[tuple[int, ...], Any, list[str]]] = {
    "a classifier": (
        MAP, _classifier, ["BatchNorm2d", "BatchNorm2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten", "ReLU", "Linear"]
    ),
    "grey pictures": (GREY, _grey, ["Conv2d", "ReLU", "Flatten", "Linear"]),
    "blocks": (
        MAP,
        _blocks,
        ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ZeroPad2d", "AvgPool2d", "AdaptiveAvgPool2d",
         "Flatten", "Linear"],
    ),
    "products of the channels": (
        MAP, _dense, ["Conv2d", "Conv2d", "BatchNorm2d", "ReLU", "AdaptiveAvgPool2d", "Flatten"]
    ),
    "products of the channels of listed positions": (
        MAP, _listed, ["Conv2d", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "AdaptiveAvgPool2d", "Flatten"]
    ),
    "numbers of a flattened map": (
        MAP, _flat_numbers, ["Conv2d", "Flatten", "BatchNorm1d", "BatchNorm1d", "ReLU", "Linear"]
    ),
    "norms of the channels": (
        MAP,
        _convnext,
        ["Conv2d", "ChannelNorm", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "AdaptiveAvgPool2d",
         "Flatten", "ChannelNorm", "Linear"],
    ),
    "a written norm of the channels": (MAP, _written_norm, ["Conv2d", "ChannelNorm", "BatchNorm2d", "BatchNorm2d"]),
    "squeeze and excite": (MAP, _excite, ["Conv2d", "AdaptiveAvgPool2d", "Conv2d", "Sigmoid"]),
    **{
        f"squeeze and excite, features, {how}": (
            MAP, partial(_excite_features, at_once=at_once),
            ["Conv2d", "AdaptiveAvgPool2d", "Flatten", "Linear", "Sigmoid", *kinds, "AdaptiveAvgPool2d", "Flatten"],
        )
        for how, at_once, kinds in (("reshaped", True, ["Unflatten"]), ("unsqueezed", False, ["Unflatten"] * 2))
    },
    "a pad in front": (MAP, _padded, ["ZeroPad2d", "Conv2d", "Flatten", "Linear"]),
    "an output with its channels last": (MAP, _conv, ["Conv2d"]),
    "a GELU by tanh": (MAP, _written_gelu, ["Conv2d", "GELU"]),
    "a slope a channel": (MAP, lambda f: _written_prelu(f, 0, 0.5, 1, 2), ["Conv2d", "PReLU", "Flatten", "Linear"]),
    "a SiLU over rows, then columns": (MAP, _written_silu, ["Conv2d", "SiLU", "AdaptiveMaxPool2d", "Flatten"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_file_with_channels_last_is_a_network_with_channels_first(name: str, tmp_path: Path) -> None:
    """Reading compares both on random inputs."""
    shape, make, layers = CASES[name]
    for batch in ("N", 1, 3):
        file = File(shape, batch)
        make(file)
        network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
        assert found == (shape[2], *shape[:2])
        assert [type(layer).__name__ for layer in network.children()] == layers


@pytest.mark.parametrize("sizes", [(2, 3, 4), (2, 12), (24, 1)])
def test_features_that_are_turned_at_once_are_a_map_or_a_signal(sizes: tuple[int, ...], tmp_path: Path) -> None:
    """As of Keras' Reshape behind a Dense layer, whose channels come last."""
    file = File((12,))
    file.add("Relu", file.add("Gemm", file.weight(12, 24)))
    file.add("Reshape", _ints(file, -1, *sizes))
    rank = len(sizes) + 1
    file.add("Transpose", perm=[0, rank - 1, *range(1, rank - 1)])
    file.add("Conv", file.weight(2, sizes[-1], *[1] * len(sizes[:-1])))
    network, _ = read_float_onnx(file.save(tmp_path / "float.onnx"))
    kinds = ["Linear", "ReLU", "FeatureMap", f"Conv{rank - 2}d"]
    assert [type(layer).__name__ for layer in network.children()] == kinds


def test_a_signal_that_is_transposed_at_once_has_its_channels_last(tmp_path: Path) -> None:
    """(N, steps, features), as of torch's ``self.conv(x.transpose(1, 2))``."""
    file = File((12, 2))
    file.add("Transpose", perm=[0, 2, 1])
    file.add("Conv", file.weight(3, 2, 5))
    file.add("Transpose", perm=[0, 2, 1])
    file.add("Gemm", file.add("Flatten", file.add("Relu")), file.weight(24, 4))
    network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert found == (2, 12)
    kinds = [torch.nn.Conv1d, torch.nn.ReLU, torch.nn.Flatten, torch.nn.Linear]
    assert [type(layer) for layer in network.children()] == kinds


def test_a_signal_whose_positions_are_listed_at_once_has_its_channels_last(tmp_path: Path) -> None:
    """Keras' Dense as the first layer over a signal (N, steps, features)."""
    file = File((12, 2))
    file.add("MatMul", file.add("Reshape", _ints(file, -1, 2)), file.weight(2, 4))
    file.add("Relu", file.add("Reshape", file.last, _ints(file, -1, 12, 4)))
    file.add("ReduceMean", _ints(file, 1), keepdims=0)
    network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert found == (2, 12)
    kinds = [torch.nn.Conv1d, torch.nn.ReLU, torch.nn.AdaptiveAvgPool1d, torch.nn.Flatten]
    assert [type(layer) for layer in network.children()] == kinds


def _row(file: File) -> None:
    """Layers of signals, as tf2onnx writes Keras': each is a layer of maps of one row."""
    file.add("Transpose", file.add("Unsqueeze", _ints(file, -3)), perm=FIRST)
    file.add("Conv", file.weight(4, 2, 1, 5), pads=[0, 1, 0, 2], strides=[1, 2], kernel_shape=[1, 5])
    first = file.add("Relu", file.add("Add", file.add("Squeeze", _ints(file, 2)), file.weight(1, 4, 1)))
    file.add("MaxPool", file.add("Unsqueeze", _ints(file, 2)), kernel_shape=[1, 3], strides=[1, 1], pads=[0, 1, 0, 1])
    second = file.add("Elu", file.add("Squeeze", _ints(file, -2)))
    file.add("Concat", file.add("Add", first, second), second, axis=1)
    file.add("Unsqueeze", file.add("Pad", file.last, _ints(file, 0, 0, 2, 0, 0, 0)), _ints(file, 2))
    file.add("Conv", file.weight(6, 8, 1, 3))
    file.add("Mul", file.last, file.weight(1, 6, 1, 1))
    file.add("Pad", file.last, _ints(file, 0, 0, 0, 1, 0, 0, 0, 0))
    file.add("AveragePool", kernel_shape=[1, 2], strides=[1, 2])
    file.add("Squeeze", file.add("GlobalMaxPool"), _ints(file, 2, 3))
    file.add("Gemm", file.weight(6, 3))


def _column(file: File) -> None:
    """A pool of Keras over maps of one column, which are made of a row in front of the channels."""
    file.add("Transpose", file.add("Unsqueeze", _ints(file, 2)), perm=FIRST)
    file.add("Squeeze", file.add("Conv", file.weight(4, 2, 3, 1), pads=[1, 0, 1, 0]), _ints(file, 3))
    file.add("Reshape", file.add("Unsqueeze", _ints(file, 1)), _ints(file, -1, 4, 12, 1))
    file.add("Squeeze", file.add("MaxPool", kernel_shape=[2, 1], strides=[2, 1]), _ints(file, 3))
    file.add("Add", file.add("Unsqueeze", _ints(file, -1)), file.weight(1, 4, 1, 1))
    file.add("Squeeze", file.add("ReduceMax", _ints(file, 2, 3)), _ints(file, 2, 3))


def _row_enlarged(file: File) -> None:
    """Conv1DTranspose, of which tf2onnx cuts off what lies beyond."""
    file.add("Transpose", file.add("Unsqueeze", _ints(file, 1)), perm=FIRST)
    row = file.add("ConvTranspose", file.weight(2, 3, 1, 3), strides=[1, 2], output_padding=[0, 1])
    parts = ["starts", "stops"]
    file.nodes.append(helper.make_node("Split", [_ints(file, 0, 1, 1, 25)], parts, num_outputs=2))
    file.add("Slice", row, *parts, _ints(file, 2, 3))
    file.add("Transpose", file.add("Squeeze", _ints(file, 2)), perm=[0, 2, 1])


def _row_of_one_channel(file: File) -> None:
    """The Transpose is a Reshape; numbers in front of it, and a mean over the length of the row alone."""
    file.add("Mul", _number(file, 0.5))
    file.add("Unsqueeze", file.add("Add", file.last, file.weight(1)), _ints(file, 1))
    file.add("Reshape", _ints(file, -1, 1, 1, 12))
    file.add("Transpose", file.add("Conv", file.weight(3, 1, 1, 3), file.weight(3), auto_pad="SAME_UPPER"), perm=LAST)
    file.add("Squeeze", file.add("ReduceMean", _ints(file, 2)), _ints(file, 1, 2))
    file.add("Gemm", file.weight(3, 2))


@pytest.mark.parametrize(
    ("channels", "make", "layers"),
    [
        (2, _row, ["ZeroPad2d", "Conv1d", "BatchNorm1d", "ReLU", "MaxPool1d", "ELU", "ZeroPad2d", "Conv1d",
                   "BatchNorm1d", "ZeroPad2d", "AvgPool1d", "AdaptiveMaxPool1d", "Flatten", "Linear"]),
        (2, _column, ["Conv1d", "MaxPool1d", "BatchNorm1d", "AdaptiveMaxPool1d", "Flatten"]),
        (2, _row_enlarged, ["Conv1d", "BlockShuffle", "PositionSlice"]),
        (1, _row_of_one_channel, ["BatchNorm1d", "Conv1d", "AdaptiveAvgPool1d", "Flatten", "Linear"]),
    ],
)  # fmt: skip
def test_maps_of_one_row_are_signals(channels: int, make: Any, layers: list[str], tmp_path: Path) -> None:
    """tf2onnx writes Keras' layers of signals so."""
    for batch in ("N", 1, 3):
        file = File((12, channels), batch)
        make(file)
        network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
        assert found == (channels, 12)
        assert [type(layer).__name__ for layer in network.children()] == layers


@pytest.mark.parametrize(
    "make",
    [
        lambda f: f.add("Conv", f.weight(2, 2, 3, 3), pads=[1, 1, 1, 1]),
        lambda f: f.add("MaxPool", kernel_shape=[1, 2], pads=[1, 0, 0, 0]),
        lambda f: f.add("Pad", _ints(f, 0, 0, 1, 0, 0, 0, 0, 0)),
        lambda f: f.add("Concat", f.last, f.last, axis=2),
        lambda f: f.add("Add", f.last, f.weight(2, 1)),
        lambda f: f.add("Reshape", f.last, _ints(f, -1, 2, 3, 4)),
    ],
)
def test_what_leaves_the_row_is_refused(make: Any, tmp_path: Path) -> None:
    file = File((2, 12))
    file.add("Unsqueeze", file.add("Conv", file.weight(2, 2, 1)), _ints(file, 2))
    make(file)
    with pytest.raises(UserError, match=r"^it reads a signal as a map of one row \[.*\]; use layers of signals"):
        read_float_onnx(file.save(tmp_path / "float.onnx"))


def test_a_map_turned_inside_a_file_with_channels_first_is_turned_back(tmp_path: Path) -> None:
    file = File((2, 8, 8))
    file.add("Transpose", perm=LAST)
    file.add("Relu", file.add("Add", file.last, file.weight(2)))
    file.add("Reshape", file.add("Transpose", perm=FIRST), _ints(file, 0, -1))
    network, found = read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert found == (2, 8, 8)
    assert [type(layer) for layer in network.children()] == [torch.nn.BatchNorm2d, torch.nn.ReLU, torch.nn.Flatten]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.add("Relu", f.add("Transpose", perm=[0, 1, 3, 2])),
         "it transposes (2, 8, 6, 3) by [0, 1, 3, 2] [float.onnx, node 'transpose0' (Transpose)]; move channels to the "
         "end and back only"),
        (lambda f: (_conv(f), f.add("MaxPool", kernel_shape=[2, 2])),
         "a MaxPool of a map with its channels last [float.onnx, node 'maxpool3' (MaxPool)]; transpose it to (N, "
         "channels, ...) in front"),
        (lambda f: (_conv(f), f.add("LayerNormalization", f.weight(6, 4), axis=2)),
         "a LayerNormalization of a map with its channels last [float.onnx, node 'layernormalization3' (LayerNor"),
        (lambda f: (_conv(f), f.add("Reshape", _ints(f, 0, 48, 4)), f.add("Relu")),
         "it reshapes a map with its channels last, (2, 8, 6, 4) [float.onnx, node 'reshape3' (Reshape)]; flatten to"),
        (lambda f: (_conv(f), f.add("Flatten"), f.add("Add", f.last, f.last)),
         "it reads a map that is flattened with its channels last [float.onnx, node 'add4' (Add)]; let a fully"),
        (lambda f: (_conv(f), f.add("Reshape", _ints(f, -1, 4)), f.add("ReduceMean", _ints(f, 1))),
         "it reads a list of a map's positions [float.onnx, node 'reducemean4' (ReduceMean)]; let a fully connected"),
        (lambda f: (_conv(f), f.add("Flatten")),
         "the output 't3' is a map with its channels last, flattened [float.onnx]; end with the map, or flatten it "),
        (lambda f: (_conv(f), f.add("Reshape", _ints(f, -1, 4))), "the output 't3' is a map with its channels last, f"),
    ],
)  # fmt: skip
def test_what_has_no_form_with_channels_first_is_refused_by_its_node(make: Any, message: str, tmp_path: Path) -> None:
    file = File(MAP)
    make(file)
    with pytest.raises(UserError) as caught:
        read_float_onnx(file.save(tmp_path / "float.onnx"))
    assert message in str(caught.value)


def test_maps_of_both_orders_are_not_added(tmp_path: Path) -> None:
    file = File((3, 3, 3))
    x = file.add("Transpose", perm=FIRST)
    file.add("Conv", file.weight(3, 3, 1, 1))
    file.add("Add", x, file.add("Transpose", perm=LAST))
    with pytest.raises(UserError, match="^it reads maps of both orders of the axes"):
        read_float_onnx(file.save(tmp_path / "float.onnx"))
