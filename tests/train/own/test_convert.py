"""Where quantizers stand in a converted network, and what they share."""

from __future__ import annotations

from collections.abc import Callable

import brevitas.nn as qnn
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from toolchain.config.run import QuantConfig
from toolchain.errors import UserError
from toolchain.train.layers import Layers
from toolchain.train.methods import quant_method
from toolchain.train.module import set_quantized
from toolchain.train.own.convert import with_quantizers
from toolchain.train.own.trace import layer_graph, layer_of
from toolchain.train.quantizers import LeaningStep

SHAPE = (2, 4, 8, 8)


class Net(nn.Module):
    """Convolutions ``a`` to ``d``, a norm and a classifier for a function that is the network."""

    def __init__(self, function: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        for name in "abcd":
            setattr(self, name, nn.Conv2d(4, 4, 3, padding=1))
        self.norm, self.wide, self.fc = nn.BatchNorm2d(4), nn.Conv2d(8, 4, 1), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _converted(
    function: Callable[[Net, Tensor], Tensor], *, codes: bool = True, quantized: bool = True, **quant: object
) -> fx.GraphModule:
    torch.manual_seed(0)
    config = QuantConfig.model_validate(quant)
    make = Layers(config, quant_method(config), quantized, first="", last="")
    return with_quantizers(layer_graph(Net(function), torch.rand(SHAPE)), make, codes=codes)


def _calls(graph: fx.GraphModule) -> list[str]:
    """The calls in order, with signs of the quantizers: + unsigned, - signed, ~ about a zero point."""
    found = []
    for node in graph.graph.nodes:
        layer = layer_of(graph, node)
        if node.op == "call_function":
            found.append(node.target.__name__)
        elif layer is not None:
            quantizer = isinstance(layer, qnn.QuantReLU | qnn.QuantIdentity)
            leaning = any(isinstance(part, LeaningStep) for part in layer.modules())
            found.append(str(node.target) + ("-+~"[(not layer.act_quant.is_signed) + leaning] if quantizer else ""))
    return found


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        # a ReLU takes in its quantizer, also behind a norm and in front of a pool
        (lambda m, x: m.b(F.max_pool2d(F.relu(m.norm(m.a(x))), 2)), ["a", "norm", "relu+", "max_pool2d", "b"]),
        # nothing is quantized twice, and nothing behind the last layer
        (lambda m, x: m.b(m.a(x)), ["a", "a_codes-", "b"]),
        (lambda m, x: m.b(F.relu6(m.a(x))), ["a", "relu6", "relu6_codes+", "b"]),
        (lambda m, x: m.b(F.leaky_relu(m.a(x), 0.1)), ["a", "leaky_relu", "leaky_relu_codes-", "b"]),
        # operands of a sum share a quantizer; the ReLU keeps its own where a convolution reads it too
        (lambda m, x: m.c(F.relu(m.b(y := F.relu(m.a(x))) + y)),
         ["a", "relu+", "add-", "b", "add-", "add", "relu_2+", "c"]),
        # two ReLUs that are only added need no quantizers of their own, and the shared one no sign
        (lambda m, x: m.c(F.relu(m.a(x)) + F.relu(m.b(x))),
         ["a", "relu", "add+", "b", "relu_2", "add+", "add", "add_codes+", "c"]),
        # a chain of sums: each tensor passes one quantizer, which the convolution reads as well
        (lambda m, x: m.d(y + m.c(y) if (y := m.a(x) + m.b(x)) is not None else x),
         ["a", "add-", "b", "add-", "add", "add_2-", "c", "add_2-", "add", "add_codes-", "d"]),
        # what is concatenated has one scale, so the result is codes already
        (lambda m, x: m.wide(torch.cat([F.relu(m.a(x)), m.b(x)], 1)),
         ["a", "relu", "cat-", "b", "cat-", "cat", "wide"]),
        # averages of codes stay sums in front of a fully connected layer, not in front of a convolution
        (lambda m, x: m.fc(F.relu(m.a(x)).mean((2, 3))), ["a", "relu+", "mean", "flatten", "fc"]),
        (lambda m, x: m.b(F.avg_pool2d(F.relu(m.a(x)), 2)), ["a", "relu+", "avg_pool2d", "avg_pool2d_codes+", "b"]),
        # a smooth function is quantized in front of it and behind it, one that is never negative without a sign
        (lambda m, x: m.b(F.silu(m.norm(m.a(x)))), ["a", "norm", "norm_codes-", "silu", "silu_codes~", "b"]),
        # what leans has a zero point, also a sum of such and positive values, unless a product reads it
        (lambda m, x: m.c(F.silu(m.a(x)) + F.relu(m.b(x))),
         ["a", "a_codes-", "silu", "add~", "b", "relu", "add~", "add", "add_codes~", "c"]),
        (lambda m, x: m.c(F.gelu(m.a(x)) + m.b(x)),
         ["a", "a_codes-", "gelu", "add-", "b", "add-", "add", "add_codes-", "c"]),
        (lambda m, x: m.c(F.max_pool2d(F.silu(m.a(x)), 3, 1, 1) * F.elu(m.b(x))),
         ["a", "a_codes-", "silu", "silu_codes-", "max_pool2d", "b", "b_codes-", "elu", "elu_codes-", "mul",
          "mul_codes~", "c"]),
        (lambda m, x: m.b(torch.sigmoid(m.a(x))), ["a", "a_codes-", "sigmoid", "sigmoid_codes+", "b"]),
        # each factor of a product is quantized by itself, and so is the product
        (lambda m, x: m.c(y * torch.sigmoid(m.b(y.mean((2, 3), keepdim=True)))
                          if (y := F.relu(m.a(x))) is not None else x),
         ["a", "relu+", "mean", "mean_codes+", "b", "b_codes-", "sigmoid", "sigmoid_codes+", "mul", "mul_codes+", "c"]),
        # parts, shuffles and maxima keep their quantizer, and parts of one tensor put side by side need none
        (lambda m, x: m.wide(torch.cat([x[:, :2], x[:, 2:], F.max_pool2d(x, 3, 1, 1)], 1)),
         ["getitem", "getitem_2", "max_pool2d", "cat", "wide"]),
        (lambda m, x: m.c(F.channel_shuffle(torch.cat([y[:, :2], m.b(y)[:, :2]], 1), 2)
                          if (y := m.a(x)) is not None else x),
         ["a", "cat-", "getitem", "b", "cat-", "getitem_2", "cat", "channel_shuffle", "c"]),
        (lambda m, x: m.b(F.interpolate(F.relu(m.a(x)), scale_factor=2)), ["a", "relu+", "interpolate", "b"]),
        (lambda m, x: m.b(F.interpolate(F.relu(m.a(x)), scale_factor=2, mode="bilinear")),
         ["a", "relu+", "interpolate", "interpolate_codes+", "b"]),
        # dropout and flatten move codes
        (lambda m, x: m.fc(F.dropout(F.relu(m.a(x)).amax((2, 3)))), ["a", "relu+", "amax", "flatten", "dropout", "fc"]),
    ],
)  # fmt: skip
def test_quantizers_stand_where_codes_are_read(function: Callable[[Net, Tensor], Tensor], calls: list[str]) -> None:
    graph = _converted(function)
    assert _calls(graph) == calls
    set_quantized(graph, False)
    plain = layer_graph(Net(function), torch.rand(SHAPE))
    weights = {name: value for name, value in graph.state_dict().items() if "tensor_quant" not in name}
    plain.load_state_dict(weights)
    x = torch.rand(SHAPE)
    with torch.no_grad():
        assert torch.equal(graph.eval()(x), plain(x))


def test_an_input_that_is_no_codes_passes_a_quantizer_first() -> None:
    graph = _converted(lambda m, x: m.a(x) + x, codes=False)
    assert _calls(graph) == ["input-", "add-", "a", "add-", "add"]


def test_sums_are_sums_of_integers_of_one_step() -> None:
    """Both operands are multiples of the shared step, with the weights of the float network."""
    graph = _converted(lambda m, x: F.relu(m.b(F.relu(m.a(x))) + m.c(x))).train()
    seen: list[Tensor] = []
    graph.get_submodule("add").register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    graph(torch.rand(SHAPE))
    step = graph.get_submodule("add").act_quant.scale()  # type: ignore[operator,union-attr]
    assert len(seen) == 2
    for operand in seen:
        assert torch.allclose(operand / step, (operand / step).round(), atol=1e-4)  # float32 division


def test_bits_of_the_first_the_last_and_single_layers_are_theirs() -> None:
    graph = _converted(
        lambda m, x: m.fc(F.relu(m.b(F.relu(m.a(x)) + x)).mean((2, 3))),
        weight_bits=3, act_bits=4, first_weight_bits=8, last_weight_bits=7,
        layers={
            "b": {"weight_bits": 2, "weight_granularity": "channel"}, "relu_2": {"act_bits": 5}, "add": {"act_bits": 6},
        },
    )  # fmt: skip
    weights = {name: graph.get_submodule(name).quant_weight() for name in ("a", "b", "fc")}  # type: ignore[operator,union-attr]
    assert {name: int(weight.bit_width) for name, weight in weights.items()} == {"a": 8, "b": 2, "fc": 7}
    acts = {name: int(graph.get_submodule(name).act_quant.bit_width()) for name in ("relu_2", "add")}  # type: ignore[operator,union-attr]
    assert acts == {"relu_2": 5, "add": 6} and weights["b"].scale.shape == (4, 1, 1, 1)


@pytest.mark.parametrize("method", ["lsq", "brevitas", "qil", "fqconv", "symog"])
def test_layers_keep_the_weights_and_the_geometry_of_the_float_network(method: str) -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(4, 8, (3, 1), (2, 1), (1, 0), (2, 1), groups=4), nn.ReLU(), nn.Conv2d(8, 2, 1))
    make = Layers(QuantConfig(method=method), quant_method(QuantConfig(method=method)), True, first="", last="")  # type: ignore[arg-type]
    graph = with_quantizers(layer_graph(model, torch.rand(SHAPE)), make, codes=True)
    set_quantized(graph, False)
    x = torch.rand(SHAPE)
    with torch.no_grad():
        assert torch.equal(graph.eval()(x), model.eval()(x))
    assert isinstance(graph.get_submodule("0"), qnn.QuantConv2d)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: F.max_pool2d(F.dropout(F.pad(F.relu6(m.a(x)), (1, 1, 1, 1)), training=m.training), 2),
        lambda m, x: F.avg_pool2d(F.pad(F.pad(m.a(x), (1, 0)), (0, 1)), 3, padding=1),
        lambda m, x: m.b(F.pad(m.a(x), (1, 1))),
        lambda m, x: F.pad(m.a(x), (1, 1)).mean((2, 3)),
        lambda m, x: F.relu(F.pad(m.a(x), (0, 0))),
    ],
)
@pytest.mark.parametrize("quantized", [True, False])
def test_zeros_are_padded_for_convolutions_averages_and_the_maximum_behind_a_relu(
    function: Callable[[Net, Tensor], Tensor], quantized: bool
) -> None:
    assert any(isinstance(layer, nn.ZeroPad2d) for layer in _converted(function, quantized=quantized).modules())


UNREAD = "it pads what no convolution and no pool reads [layer 'pad']; pad only in front of a convolution or a pool"
BELOW = "it pads the input of a maximum with zeros, behind no ReLU [layer 'pad']; pad in the pool (padding=...), or put"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda m, x: m.b(F.relu(F.pad(m.a(x), (1, 1)))), UNREAD),
        (lambda m, x: F.pad(m.a(x), (1, 1)) + F.pad(x, (1, 1)), UNREAD),
        (lambda m, x: F.pad(m.a(x), (1, 1)).flatten(1), UNREAD),
        (lambda m, x: F.pad(F.relu(m.a(x)), (1, 1)), UNREAD),
        (lambda m, x: F.max_pool2d(F.pad(m.a(x), (1, 1)), 2), BELOW),
        (lambda m, x: F.max_pool2d(F.pad(x, (1, 1)), 2), BELOW),
        (lambda m, x: F.max_pool2d(F.pad(F.silu(m.a(x)), (1, 1)), 2), BELOW),
        (lambda m, x: F.avg_pool2d(F.pad(m.a(x), (1, 1)), 3, 1, 1, count_include_pad=False),
         "it pads for an average whose own pads do not count [layer 'pad']; set count_include_pad=True, or pad in the"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("quantized", [True, False])
def test_zeros_that_no_unit_pads_are_refused_before_anything_is_trained(
    function: Callable[[Net, Tensor], Tensor], message: str, quantized: bool
) -> None:
    with pytest.raises(UserError) as caught:
        _converted(function, quantized=quantized)
    assert str(caught.value).startswith(message) and "pad" in caught.value.hint
