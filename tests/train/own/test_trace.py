"""A network of plain PyTorch as a graph of layers: the same function, or a refusal that says what to write."""

from __future__ import annotations

import operator
import re
from collections import OrderedDict
from collections.abc import Callable

import brevitas.nn as qnn
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.train.own.kinds import BlockShuffle
from toolchain.train.own.trace import layer_graph, layer_of
from toolchain.train.own.transposed import write_out_transposed

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # networks that have it are tested
MAP, SIGNAL, ROW = (2, 4, 8, 8), (2, 4, 12), (2, 12)


class Wrapped(nn.Module):
    """A network that is one function, with a layer and a parameter to use."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.conv, self.norm, self.act = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU()
        self.weight = nn.Parameter(torch.rand(4, 4, 1, 1))
        self.last, self.tokens, self.normed = (
            nn.Linear(8, 8),
            nn.Linear(12, 5),
            nn.utils.weight_norm(nn.Conv2d(4, 4, 1)),
        )
        self.same = nn.Conv2d(4, 4, 1)
        self.same.weight = self.conv.weight
        self.offset = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.slopes = nn.PReLU(4)
        self.one = nn.Unflatten(1, (12, 1, 1))
        self.places = nn.Parameter(torch.tensor([0, 1]), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _shuffled(m: Wrapped, x: Tensor) -> Tensor:
    """As ShuffleNet writes it."""
    batch, channels, height, width = x.size()
    x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(batch, -1, height, width)


class Outer(nn.Module):
    """A network with a module inside, whose forward is one function."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.block = Wrapped(function)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def _layers(model: nn.Module, shape: tuple[int, ...]) -> list[str]:
    """The kinds of the calls of the traced network, which computes what ``model`` does."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    graph = layer_graph(model, x)
    with torch.no_grad():
        assert torch.allclose(graph(x), model.eval()(x), atol=1e-6)
    nodes = [node for node in graph.graph.nodes if node.op not in ("placeholder", "output")]
    return [
        type(layer_of(graph, node)).__name__ if node.op == "call_module" else node.target.__name__ for node in nodes
    ]


@pytest.mark.parametrize(
    ("shape", "function", "layers"),
    [
        (MAP, lambda m, x: F.relu(x), ["ReLU"]),
        (MAP, lambda m, x: torch.relu(x), ["ReLU"]),
        (MAP, lambda m, x: x.relu(), ["ReLU"]),
        (MAP, lambda m, x: x.clamp(min=0), ["ReLU"]),
        (MAP, lambda m, x: x.clamp(0, 6), ["ReLU6"]),
        (MAP, lambda m, x: x.clamp(0, float("inf")), ["ReLU"]),
        (MAP, lambda m, x: x.clamp(-float("inf"), 0.5), ["Hardtanh"]),
        (MAP, lambda m, x: x.clamp(min=-0.5), ["Hardtanh"]),
        (MAP, lambda m, x: torch.clamp_max(x.clamp_min(0), 6).clamp_min_(2.0), ["ReLU", "Hardtanh", "Hardtanh"]),
        (MAP, lambda m, x: torch.clamp_min(x, min=-1).clamp_max_(max=1).clip_(0), ["Hardtanh", "Hardtanh", "ReLU"]),
        (MAP, lambda m, x: F.relu6(x), ["ReLU6"]),
        (MAP, lambda m, x: F.hardtanh(x, -2, 2), ["Hardtanh"]),
        (MAP, lambda m, x: F.leaky_relu(x, 0.25), ["LeakyReLU"]),
        (MAP, lambda m, x: m.slopes(x), ["PReLU"]),
        (MAP, lambda m, x: torch.tanh(x.sigmoid()), ["Sigmoid", "Tanh"]),
        (MAP, lambda m, x: F.hardswish(F.silu(F.gelu(x))), ["GELU", "SiLU", "Hardswish"]),
        (MAP, lambda m, x: F.gelu(x, approximate="tanh"), ["GELU"]),
        (MAP, lambda m, x: F.celu(F.elu(x, 0.5), 0.25), ["ELU", "CELU"]),
        (MAP, lambda m, x: torch.sigmoid(x) * x, ["SiLU"]),
        (MAP, lambda m, x: x * F.hardsigmoid(x), ["Hardswish"]),
        (MAP, lambda m, x: m.conv(x) * x, ["Conv2d", "mul"]),
        (MAP, lambda m, x: x * m.conv(x.mean((2, 3), keepdim=True)), ["AdaptiveAvgPool2d", "Conv2d", "mul"]),
        (MAP, lambda m, x: x * x.mean((2, 3)).view(2, 4, 1, 1), ["AdaptiveAvgPool2d", "Flatten", "Unflatten", "mul"]),
        (ROW, lambda m, x: x.view(-1, 3, 2, 2).flatten(2).flatten(1), ["Unflatten", "Flatten", "Flatten"]),
        (ROW, lambda m, x: x.unsqueeze(-1).unsqueeze(-1).flatten(1), ["Unflatten", "Unflatten", "Flatten"]),
        (ROW, lambda m, x: m.one(x[:, :, None].flatten(1)), ["Unflatten", "Flatten", "Unflatten"]),
        (MAP, lambda m, x: x.mean((2, 3), keepdim=True).expand_as(x) * x, ["AdaptiveAvgPool2d", "mul"]),
        (MAP, lambda m, x: x.chunk(2, 1)[1], ["ChannelSlice"]),
        (MAP, lambda m, x: torch.split(x, [1, 3], dim=1)[1], ["ChannelSlice"]),
        (MAP, lambda m, x: torch.cat([*x.chunk(dim=1, chunks=2)], 1), ["ChannelSlice", "ChannelSlice", "cat"]),
        (MAP, lambda m, x: torch.cat([*torch.chunk(x, 4, 1)][:2], 1), ["ChannelSlice", "ChannelSlice", "cat"]),
        (MAP, lambda m, x: torch.cat(list(x.tensor_split(2, dim=1))[::-1], 1), ["ChannelSlice", "ChannelSlice", "cat"]),
        (MAP, lambda m, x: x[:, 1:, ::2, 1::2], ["ChannelSlice", "PositionSlice"]),
        (MAP, lambda m, x: x[..., -3:-1], ["PositionSlice"]),
        (MAP, lambda m, x: x[:, :, 3].narrow(1, 1, 2), ["PositionSlice", "Flatten", "ChannelSlice"]),
        (SIGNAL, lambda m, x: x[:, :, -1], ["PositionSlice", "Flatten"]),
        (MAP, _shuffled, ["ChannelShuffle"]),
        (MAP, lambda m, x: x.unflatten(1, (2, 2)).swapaxes(1, 2).flatten(1, 2), ["ChannelShuffle"]),
        (SIGNAL, lambda m, x: torch.flatten(x.reshape(-1, 2, 2, 12).permute(0, 2, 1, 3), 1, 2), ["ChannelShuffle"]),
        (MAP, lambda m, x: F.channel_shuffle(x, 2), ["ChannelShuffle"]),
        (MAP, lambda m, x: x.view(2, 4, 4, 2, 4, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 16, 4, 4), ["PixelUnshuffle"]),
        (MAP, lambda m, x: x.view(2, 4, 4, 2, 4, 2).permute(0, 3, 5, 1, 2, 4).reshape(2, 16, 4, 4),
         ["PixelUnshuffle", "ChannelShuffle"]),
        (MAP, lambda m, x: x.view(2, 1, 2, 2, 8, 8).permute(0, 1, 4, 2, 5, 3).reshape(2, 1, 16, 16), ["PixelShuffle"]),
        (MAP, lambda m, x: x.view(2, 2, 2, 1, 8, 8).permute(0, 3, 4, 1, 5, 2).reshape(2, 1, 16, 16).flatten(1),
         ["PixelShuffle", "Flatten"]),
        (MAP, lambda m, x: x.transpose(2, 3).transpose(2, 3).relu(), ["ReLU"]),
        (MAP, lambda m, x: F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2), ["PixelShuffle", "PixelUnshuffle"]),
        (MAP, lambda m, x: F.interpolate(x, scale_factor=2), ["Upsample"]),
        (MAP, lambda m, x: F.interpolate(x, (16, 24), mode="nearest-exact"), ["Upsample"]),
        (MAP, lambda m, x: F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:]), ["MaxPool2d", "Upsample"]),
        (MAP, lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear"), ["LinearUpsample"]),
        (SIGNAL, lambda m, x: F.interpolate(x, 36, mode="linear", align_corners=False), ["LinearUpsample"]),
        (MAP, lambda m, x: F.max_pool2d(x, 2), ["MaxPool2d"]),
        (MAP, lambda m, x: F.max_pool2d(x, 3, stride=2, padding=1), ["MaxPool2d"]),
        (SIGNAL, lambda m, x: F.max_pool1d(x, 3), ["MaxPool1d"]),
        (MAP, lambda m, x: F.avg_pool2d(x, 2), ["AvgPool2d"]),
        (MAP, lambda m, x: F.avg_pool2d(x, 2, padding=1, ceil_mode=True), ["AvgPool2d"]),
        (MAP, lambda m, x: F.max_pool2d(x, 3, 2, ceil_mode=True), ["MaxPool2d"]),
        (SIGNAL, lambda m, x: F.avg_pool1d(x, 2), ["AvgPool1d"]),
        (SIGNAL, lambda m, x: m.tokens(x).mean(2), ["Linear", "AvgPool1d", "Flatten"]),
        (SIGNAL, lambda m, x: m.tokens(x).amax(2), ["Linear", "MaxPool1d", "Flatten"]),
        (MAP, lambda m, x: F.pad(x, (1, 2)).mean((2, 3)), ["ZeroPad2d", "AvgPool2d", "Flatten"]),
        (MAP, lambda m, x: F.adaptive_avg_pool2d(x, (1, 1)), ["AdaptiveAvgPool2d"]),
        (SIGNAL, lambda m, x: F.adaptive_avg_pool1d(x, 1), ["AdaptiveAvgPool1d"]),
        (MAP, lambda m, x: F.adaptive_max_pool2d(x, 1), ["AdaptiveMaxPool2d"]),
        (MAP, lambda m, x: F.adaptive_max_pool2d(x, (4, 8)), ["MaxPool2d"]),
        (SIGNAL, lambda m, x: F.adaptive_avg_pool1d(x, 3), ["AvgPool1d"]),
        (MAP, lambda m, x: x.mean((2, 3)), ["AdaptiveAvgPool2d", "Flatten"]),
        (MAP, lambda m, x: x.mean([-1, -2], keepdim=True), ["AdaptiveAvgPool2d"]),
        (MAP, lambda m, x: torch.mean(x, dim=(2, 3)), ["AdaptiveAvgPool2d", "Flatten"]),
        (SIGNAL, lambda m, x: x.mean(-1), ["AdaptiveAvgPool1d", "Flatten"]),
        (MAP, lambda m, x: x.amax((2, 3)), ["AdaptiveMaxPool2d", "Flatten"]),
        (MAP, lambda m, x: torch.flatten(x, 1), ["Flatten"]),
        (MAP, lambda m, x: x.flatten(1), ["Flatten"]),
        (MAP, lambda m, x: x.view(x.size(0), -1), ["Flatten"]),
        (MAP, lambda m, x: x.view(x.shape[0], x.shape[1] * 64), ["Flatten"]),
        (MAP, lambda m, x: x.reshape(-1, 256), ["Flatten"]),
        ((2, 4, 1, 1), lambda m, x: x.squeeze(3).squeeze(2), ["Flatten", "Flatten"]),
        ((2, 4, 1, 9), lambda m, x: x.squeeze(2), ["Flatten"]),
        (ROW, lambda m, x: torch.flatten(x, 1), []),
        (MAP, lambda m, x: F.dropout(x, 0.5, m.training), ["Dropout"]),
        (MAP, lambda m, x: x.contiguous().clone(), []),
        (MAP, lambda m, x: m.conv(x.to(torch.float32)).to(dtype=x.dtype).to(x.device).type_as(x), ["Conv2d"]),
        (MAP, lambda m, x: m.act(input=m.conv(input=x)), ["Conv2d", "ReLU"]),
        (MAP, lambda m, x: F.avg_pool2d(x, x.size()[2:]), ["AvgPool2d"]),
        (MAP, lambda m, x: F.max_pool2d(x, kernel_size=(x.shape[2] // 2, x.size(-1))), ["MaxPool2d"]),
        (MAP, lambda m, x: F.pad(x, (1, 2, 0, 1)), ["ZeroPad2d"]),
        (MAP, lambda m, x: m.conv(x) + x, ["Conv2d", "add"]),
        (MAP, lambda m, x: torch.add(m.conv(x), x), ["Conv2d", "add"]),
        (MAP, lambda m, x: m.conv(x).add(x, alpha=1), ["Conv2d", "add"]),
        (MAP, lambda m, x: sum([m.conv(x), x]), ["Conv2d", "add"]),
        (MAP, lambda m, x: torch.cat([m.conv(x), x], 1), ["Conv2d", "cat"]),
        (MAP, lambda m, x: torch.cat((x, m.conv(x)), dim=-3), ["Conv2d", "cat"]),
        (MAP, lambda m, x: m.act(m.norm(m.act(x))), ["ReLU", "BatchNorm2d", "ReLU"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [Wrapped, Outer])
def test_functions_become_the_layers_they_stand_for(
    wrap: Callable[..., nn.Module], shape: tuple[int, ...], function: Callable[..., Tensor], layers: list[str]
) -> None:
    assert _layers(wrap(function), shape) == layers


def test_layers_keep_their_paths_and_functions_get_one_in_the_module_that_calls_them() -> None:
    def function(module: nn.Module, x: Tensor) -> Tensor:
        return module.act(module.act(F.relu(module.conv(x)) + F.relu(x)))  # type: ignore[operator]

    graph = layer_graph(Outer(function), torch.rand(MAP))
    assert [str(node.target) for node in graph.graph.nodes if node.op == "call_module"] == [
        "block.conv", "block.relu", "block.relu_2", "block.act", "block.act_2",
    ]  # fmt: skip
    assert next(n for n in graph.graph.nodes if n.target is operator.add).meta["path"] == "block.add"


def test_a_layer_may_have_the_name_of_a_function() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.split, self.chunk, self.flatten = nn.Conv2d(4, 8, 1), nn.Conv2d(4, 4, 1), nn.Flatten()

        def forward(self, x: Tensor) -> Tensor:
            x = self.chunk(self.split(x)[:, 4:])
            return self.flatten(x.view(2, 2, 2, 8, 8).transpose(1, 2).reshape(2, 4, 8, 8))

    assert _layers(Named(), MAP) == ["Conv2d", "ChannelSlice", "Conv2d", "ChannelShuffle", "Flatten"]


def test_a_padding_by_name_becomes_numbers() -> None:
    graph = layer_graph(nn.Sequential(nn.Conv2d(4, 4, 5, padding="same", dilation=2)), torch.rand(MAP))
    assert graph.get_submodule("0").padding == (4, 4)


@pytest.mark.parametrize(
    ("shape", "layer", "padding"),
    [
        (SIGNAL, nn.ZeroPad1d((2, 1)), (2, 1, 0, 0)),
        (SIGNAL, nn.ConstantPad1d(3, 0.0), (3, 3, 0, 0)),
        (MAP, nn.ConstantPad2d((1, 2, 0, 1), 0), (1, 2, 0, 1)),
    ],
)
def test_every_pad_by_zeros_is_the_pad_that_convolutions_take_over(
    shape: tuple[int, ...], layer: nn.Module, padding: tuple[int, ...]
) -> None:
    x = torch.rand(shape)
    graph = layer_graph(nn.Sequential(layer), x)
    found = next(iter(graph.children()))
    assert isinstance(found, nn.ZeroPad2d) and found.padding == padding and torch.equal(graph(x), layer(x))


@pytest.mark.parametrize(
    ("layer", "shape", "shuffle"),
    [
        (nn.ConvTranspose2d(4, 6, 2, stride=2), MAP, nn.PixelShuffle),
        (nn.ConvTranspose2d(4, 6, 3, 3, groups=2, bias=False), MAP, nn.PixelShuffle),
        (nn.ConvTranspose2d(4, 5, (1, 2), (1, 2)), MAP, BlockShuffle),
        (nn.ConvTranspose1d(4, 6, 3, 3, groups=2), SIGNAL, BlockShuffle),
        (nn.ConvTranspose1d(4, 3, 1), SIGNAL, BlockShuffle),
    ],
)
def test_a_transposed_convolution_without_overlap_is_a_convolution_and_a_shuffle(
    layer: nn.Module, shape: tuple[int, ...], shuffle: type
) -> None:
    """Also one that is called in two places is one layer, and what is frozen stays so."""
    next(layer.parameters()).requires_grad_(False)
    model = nn.Sequential(nn.Identity(), nn.Sequential(OrderedDict(up=layer)))
    kind = f"Conv{len(shape) - 2}d"
    assert _layers(model, shape) == [kind, shuffle.__name__]
    graph = layer_graph(model, torch.rand(shape))
    assert not graph.get_submodule("1.up.conv").weight.requires_grad
    with pytest.raises(UserError, match=r"it is called twice, and units do not share weights \[layer '0.conv'\]"):
        layer_graph(nn.Sequential(same := nn.ConvTranspose1d(4, 4, 2, 2), same), torch.rand(SIGNAL))


@pytest.mark.parametrize(
    "layer",
    [
        qnn.QuantConvTranspose2d(4, 4, 2, stride=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2, dilation=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2, padding=1),
        nn.ConvTranspose2d(4, 4, 3, stride=2),
    ],
)
def test_a_transposed_convolution_of_another_kind_stays_what_it_is(layer: nn.Module) -> None:
    """One of Brevitas has a quantizer; the windows of others overlap, or have gaps."""
    model = nn.Sequential(nn.Identity(), layer)
    write_out_transposed(model)
    assert model[1] is layer


def test_a_layer_of_a_class_of_ones_own_with_the_forward_of_pytorchs_is_that_layer() -> None:
    class Conv3x3(nn.Conv2d):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs, 3, padding=1)

    assert _layers(nn.Sequential(Conv3x3(4, 2)), MAP) == ["Conv3x3"]


def _branching(module: nn.Module, x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def _falling() -> nn.Module:
    layer = nn.PReLU(4)
    with torch.no_grad():
        layer.weight[2] = -0.5
    return layer


def _unused(module: nn.Module, x: Tensor) -> Tensor:
    F.relu(x, inplace=True)
    return x


KNOWN = "known: Conv1d, Conv2d, Linear, "
ELSEWHERE = "export builds it in a network that is quantized elsewhere: of Brevitas layers, or by onnxruntime"


@pytest.mark.parametrize(
    ("function", "what", "hint"),
    [
        (_branching, "the network cannot be traced: symbolically traced variables", "let forward branch"),
        (_unused, "changes its input in place, and its result is not used [layer 'block', relu]", "write x ="),
        (lambda m, x: F.conv2d(x, m.weight), "'conv2d' cannot be built [layer 'block', conv2d]", "make it a layer"),
        (lambda m, x: F.softsign(x), "'softsign' cannot be built [layer 'block', softsign]", "use Sigmoid, Tanh, SiLU"),
        (lambda m, x: F.softplus(x, 2), "a Softplus of beta 2 and threshold 20 [layer 'block'", "leave both"),
        (lambda m, x: x * 2, "multiplies by a constant", "put it into the weights of a layer"),
        (lambda m, x: x * F.adaptive_avg_pool2d(x, (1, 8)),
         "multiplies tensors of the shapes (2, 4, 8, 8) and (2, 4, 1, 8)", "a map and a value a channel"),
        (lambda m, x: F.log_softmax(x, 1), "'log_softmax' cannot be built", "return the logits"),
        (lambda m, x: x.permute(0, 2, 3, 1), "'permute' cannot be built", ELSEWHERE),
        (lambda m, x: x[:, ::2], "'getitem' cannot be built: it takes more than a part of the", "side by side"),
        (lambda m, x: x[:, :, [0, 1, 4]], "it takes the elements [0, 1, 4] of axis 2", "positions in their order"),
        (lambda m, x: x.flip(1).chunk(2, 1)[0], "'flip' cannot be built", KNOWN),
        (lambda m, x: x[:1], "'getitem' cannot be built: it takes more than", "positions in their order"),
        (lambda m, x: x[:, m.places], "'getitem' cannot be built [layer 'block', getitem]", ELSEWHERE),
        (lambda m, x: torch.cat([*x.chunk(3, 1)], 1), "it reads a part of a tensor that is not there", "as many parts"),
        (lambda m, x: F.interpolate(x, scale_factor=1.5), "an upsampling of (4, 8, 8) by (1.5, 1.5)", "whole factors"),
        (lambda m, x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
         "by (2.0, 2.0), mode='bilinear', align_corners=True [layer 'block', interpolate]", "without align_corners"),
        (lambda m, x: F.interpolate(x, scale_factor=2, mode="bicubic", antialias=True),
         "'interpolate' cannot be built: antialias=True", ELSEWHERE),
        (lambda m, x: F.conv_transpose2d(x, m.weight), "'conv_transpose2d' cannot be built", ELSEWHERE),
        (lambda m, x: x * F.relu6(x + 3) / 6, "adds a constant [layer 'block', add]", "is F.hardsigmoid(x)"),
        (lambda m, x: (x + m.conv(x)) / 2, "'truediv' cannot be built", "put the factor into the weights of a layer"),
        (lambda m, x: x + 1, "adds a constant", "put it into the bias"),
        (lambda m, x: torch.add(x, m.conv(x), alpha=2), "adds a multiple", "put the factor into the weights"),
        (lambda m, x: x + x.mean((2, 3), keepdim=True), "adds tensors of the shapes (2, 4, 8, 8) and (2, 4, 1, 1)",
         "add tensors of one shape"),
        (lambda m, x: x + m.offset, "adds a constant", "put it into the bias"),
        (lambda m, x: x.to(torch.bfloat16), "'to' cannot be built [layer 'block', to]", KNOWN),
        (lambda m, x: F.avg_pool2d(x, x.size(0)), "reads more than one tensor, or a size", "give numbers"),
        (lambda m, x: F.adaptive_avg_pool2d(x, (3, 8)), "differ in size, from 8 x 8 to 3 x 8", "divide 8 x 8"),
        (lambda m, x: F.avg_pool2d(x, 2, divisor_override=3), "it divides by another number", "divisor_override"),
        (lambda m, x: F.avg_pool2d(x, 3, 2, ceil_mode=True),
         "ceil_mode that adds windows beyond the pads of an average [layer 'block', avg_pool2d]", "ceil_mode=False"),
        (lambda m, x: F.leaky_relu(x, -0.5),
         "a slope of -0.5, which makes it fall [layer 'block', leaky_relu]", "give a slope of 0 or more"),
        (lambda m, x: F.prelu(x, m.slopes.weight), "'prelu' cannot be built", "make it a layer"),
        (lambda m, x: m.slopes(m.slopes(x)), "it is called twice, and units do not share weights", "make two layers"),
        (lambda m, x: F.celu(x, -0.5), "a CELU of alpha -0.5 [layer 'block', celu]", "give an alpha above 0"),
        (lambda m, x: F.elu(x, float("nan")), "an alpha of nan [layer 'block', elu]", "give a finite one"),
        (lambda m, x: x.clamp(1, 1), "'clamp' cannot be built: the minimum 1 is not below the maximum 1", KNOWN),
        (lambda m, x: F.pad(x.flatten(1), (0, 1)), "it pads (256,) by (0, 1, 0, 0) [layer 'block', pad]", "of signals"),
        (lambda m, x: F.pad(x, (0, -1)), "it pads by -1 [layer 'block', pad]", "pads are 0 and more"),
        (lambda m, x: m.last(x), "a fully connected layer over the last axis of a map, (4, 8, 8)", "1x1 convolution"),
        (lambda m, x: m.normed(x), "its weight is parametrized", "remove_weight_norm"),
        (lambda m, x: m.same(m.conv(x)), "it shares its weight with layer 'block.conv'", "a weight of its own"),
        (lambda m, x: torch.cat([x, x], 2), "concatenates along axis 2", "dim=1"),
        (lambda m, x: torch.cat(x.split(2, 1), 1), "concatenates parts that have no names [layer 'block', cat]",
         "name them: a, b = x.chunk(2, 1)"),
        (lambda m, x: x.flatten(0, 1), "'flatten' reshapes from (2, 4, 8, 8) to (8, 8, 8); only to (N, -1)",
         "use torch.flatten(x, 1)"),
        (lambda m, x: x.mean((2, 3), keepdim=True).expand_as(x) + x, "'expand_as' cannot be built", KNOWN),
        (lambda m, x: x.mean((2, 3)).view(1, 2, 4),
         "'view' reshapes from (2, 4) to (1, 2, 4); only to (N, -1)", KNOWN),
        (lambda m, x: x.view(2, 2, 2, 8, 8).transpose(1, 3).reshape(2, 4, 8, 8),
         "'view' reshapes from (2, 4, 8, 8) to (2, 2, 2, 8, 8); only to (N, -1)", KNOWN),
        (lambda m, x: (x - 0.5), "subtracts a constant [layer 'block', sub]", "put it into the bias of a layer"),
        (lambda m, x: x - m.conv(x), "'sub' cannot be built [layer 'block', sub]", "fold the sign into the weights"),
        (lambda m, x: x.mean(1), "'mean' cannot be built: over the axes 1; only over the whole map", KNOWN),
        (lambda m, x: F.pad(x, (1, 1, 1, 1), mode="reflect"), "'pad' cannot be built: not zeros", KNOWN),
        (lambda m, x: m.conv(m.conv(x)), "it is called twice, and units do not share weights [layer 'block.conv']",
         "make two layers"),
        (lambda m, x: (x, x), "forward returns a tuple, not one tensor", "return the logits"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused_with_the_place_and_what_to_write(
    function: Callable[..., Tensor], what: str, hint: str
) -> None:
    with pytest.raises(UserError) as caught:
        layer_graph(Outer(function), torch.rand(MAP))
    assert what in str(caught.value) and hint in caught.value.hint and caught.value.where


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.conv(x / 255),
        lambda m, x: m.conv(x.float().div(255.0)),
        lambda m, x: m.conv(x * (1 / 255)),
        lambda m, x: m.conv(x - 127),
        lambda m, x: m.conv((x - m.offset) / m.offset),
    ],
)
def test_a_network_that_scales_its_input_is_told_what_the_run_does(function: Callable[..., Tensor]) -> None:
    """Division by 255 in weights would be the second one."""
    with pytest.raises(UserError) as caught:
        layer_graph(Outer(function), torch.rand(MAP))
    assert caught.value.hint.endswith(
        ", or leave it out: pixels come over their largest value, numbers as data.normalize says"
    )
    with pytest.raises(UserError) as caught:
        layer_graph(Outer(lambda m, x: m.conv(x) / 255), torch.rand(MAP))
    assert "leave it out" not in caught.value.hint


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Softsign(), "a Softsign cannot be built [layer '1']; use Sigmoid, Tanh, SiLU"),
        (_falling(), "a slope of -0.5, which makes it fall [layer '1']; give a slope of 0 or more"),
        (nn.Upsample(12), "an upsampling of (4, 8, 8) by (1.5, 1.5), mode='nearest' [layer '1']; enlarge by whole"),
        (nn.ConvTranspose2d(4, 4, 2), "a ConvTranspose2d cannot be built [layer '1']; give it a stride of its kernel"),
        (nn.InstanceNorm2d(4), "an InstanceNorm2d cannot be built [layer '1']; its moments differ"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "it pads with 'circular' [layer '1']; pad with zeros"),
        (nn.Conv2d(4, 4, 2, padding="same"), "padding='same' of an even kernel [layer '1']"),
        (nn.ConstantPad2d(1, 0.5), "it pads with 0.5 [layer '1']; pad with zeros"),
        (nn.BatchNorm2d(4, affine=False), "a batch norm without scale, offset or statistics [layer '1']"),
        (nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1)), "its weight is parametrized"),
    ],
)
def test_layers_that_no_unit_computes_are_refused_by_their_path(layer: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        layer_graph(nn.Sequential(nn.Identity(), layer), torch.rand(MAP))


def test_a_recurrent_layer_is_told_what_export_builds() -> None:
    with pytest.raises(UserError, match="an LSTM cannot be built .*; export builds a QuantLSTM that was trained with"):
        layer_graph(nn.Sequential(nn.LSTM(12, 4)), torch.rand(SIGNAL))


def test_a_second_input_is_refused() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    with pytest.raises(UserError, match="forward takes 'y' besides 'x'"):
        layer_graph(Two(), torch.rand(MAP))


def test_further_arguments_have_their_defaults_and_a_layer_called_by_name_reads_by_position() -> None:
    class Options(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor, features: bool = False, *, mask: Tensor | None = None, times: int = 1) -> Tensor:
            for _ in range(times):
                x = self.conv(input=x)
            return x if features or mask is not None else F.relu(x)

    x = torch.rand(MAP)
    graph = layer_graph(Options(), x)
    assert _layers(Options(), MAP) == ["Conv2d", "ReLU"]
    first, call, *_ = graph.graph.nodes
    assert call.args == (first,) and not call.kwargs


@pytest.mark.parametrize(
    "function",
    [lambda m, x: x * 2, lambda m, x: x + 1, lambda m, x: x - 1, lambda m, x: x / 2, lambda m, x: x.transpose(1, 2)],
)
def test_what_can_be_quantized_after_training_is_said_where_a_network_is_trained(
    function: Callable[..., Tensor],
) -> None:
    for copies in (True, False):
        with pytest.raises(UserError) as caught:
            layer_graph(Wrapped(lambda m, x: function(m, x.relu())), torch.rand(MAP), copies=copies)
        hint = "; or train it elsewhere in float: 'fpgaflow quantize' reads more"
        assert caught.value.hint.endswith(hint) != copies


def test_layers_with_weights_that_are_called_twice_become_two_where_copies_are_asked_for() -> None:
    def function(module: nn.Module, x: Tensor) -> Tensor:
        return module.conv(module.conv(x))  # type: ignore[operator]

    model, x = Outer(function), torch.rand(MAP)
    graph = layer_graph(model, x, copies=True)
    with torch.no_grad():
        assert torch.equal(graph(x), model.eval()(x))
    assert [str(n.target) for n in graph.graph.nodes if n.op == "call_module"] == ["block.conv", "block.conv_2"]


def test_a_weight_that_a_norm_makes_is_fixed_in_the_copy_alone() -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    model, x = nn.Sequential(normed, nn.ReLU()).eval(), torch.rand(MAP)
    before = model(x)
    graph = layer_graph(model, x, copies=True)
    assert type(graph.get_submodule("0")) is nn.Conv2d and torch.equal(graph(x), before)
    assert torch.equal(model(x), before) and "0.parametrizations.weight.original0" in dict(model.named_parameters())
