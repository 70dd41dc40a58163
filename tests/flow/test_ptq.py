"""Quantization after training: exact down to the integers, better than the nearest codes, clear where it cannot."""

from __future__ import annotations

import json
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from toolchain.config.run import parse_config
from toolchain.engine.cut import refusals
from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.flow.ptq import Images, holds_codes, quantize_to
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.pools import GlobalSum
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.ir.ops.requantizers import Lookup, MulShift
from toolchain.ir.types import QInt
from toolchain.lowering.pipeline import to_integer
from toolchain.train.efficientnet import PIXELS, InvertedBottleneck
from toolchain.train.inputs import PixelMap
from toolchain.train.models import build
from toolchain.train.own.kinds import Abs, BlockShuffle, ChannelNorm, ChannelSlice, LinearUpsample, PositionSlice
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.graph import Values, layer_graph, places
from toolchain.train.ptq.parts import Store
from toolchain.train.ptq.quantize import Bits, quantize
from toolchain.train.ptq.rounding import Moments, nearest, round_weights
from toolchain.train.ptq.source import Source
from toolchain.train.quantizers import Levels, least_squares_step

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # networks that have it are tested
SHAPE = (3, 8, 8)
POWERS = [2**k for k in range(12)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def _pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def _settled(model: nn.Module) -> nn.Module:
    """The model with batch norms that have seen data, some of them with negative scales."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.5)
            nn.init.normal_(layer.bias, 0.0, 0.3)
    model.train()(torch.from_numpy(PIXELS.apply(_pixels(32))))
    return model.eval()


def _resnet() -> nn.Module:
    config = parse_config(
        {"name": "t", "model": {"name": "resnet8", "width": 0.25}, "train": {"float": True}}, where=""
    )
    return _settled(build(config, SHAPE, 5))


def _bottleneck() -> nn.Module:
    """What EfficientNet-Lite is made of: uneven pads, depthwise convolutions, ReLU6, sums of linear outputs."""
    blocks = [InvertedBottleneck(3, 4, 3, 2, 6, 8), InvertedBottleneck(4, 4, 5, 1, 6, 4)]
    return _settled(nn.Sequential(*blocks, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(4, 5)))


class _Dense(nn.Module):
    """Functions in place of layers: a concatenation of unlike branches, a leaky ReLU, a mean over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding="same"), nn.BatchNorm2d(6)
        self.grow, self.neck, self.fc = nn.Conv2d(6, 4, 3, padding=1), nn.Conv2d(10, 8, 1), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(functional.relu(self.norm(self.stem(x))), 2)
        x = torch.cat([x, functional.leaky_relu(self.grow(x), 0.125)], 1)
        return self.fc(functional.hardtanh(self.neck(x), -2.0, 2.0).mean((2, 3)))


def _dense() -> nn.Module:
    return _settled(_Dense())


class _Head(nn.Module):
    """A map that is flattened, a product and a sum of a tensor with itself, windows of an adaptive pool."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.stem, self.act, self.drop, self.pool = nn.Conv2d(3, 4, 3), act, nn.Dropout(), nn.AdaptiveAvgPool2d((3, 2))
        self.norm, self.fc = nn.utils.weight_norm(nn.Conv2d(4, 4, 1)), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        x = self.pool(self.drop(x) + x)
        return self.fc(self.act(self.norm(x * x)).flatten(1))


def _head() -> nn.Module:
    return _Head(nn.ReLU()).eval()


def _smooth_head() -> nn.Module:
    return _Head(nn.SiLU()).eval()


class _Excited(nn.Module):
    """A squeeze-and-excite block with fully connected layers, as SENet writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1)
        self.down, self.up, self.fc = nn.Linear(8, 2), nn.Linear(2, 8), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.stem(x))
        batch, channels, _, _ = x.size()
        y = functional.relu(self.down(self.pool(x).view(batch, channels)))
        x = x * torch.sigmoid(self.up(y)).view(batch, channels, 1, 1).expand_as(x)
        return self.fc(torch.flatten(self.pool(x), 1))


def _excited() -> nn.Module:
    return _Excited().eval()


def _tanh_head() -> nn.Module:
    return _Head(nn.GELU("tanh")).eval()


def _normed() -> nn.Module:
    return _Head(ChannelNorm(4)).eval()


def _slopes() -> nn.Module:
    act = nn.PReLU(4)
    with torch.no_grad():
        act.weight.copy_(torch.tensor([0.0, 0.1, 0.75, 1.5]))
    return _Head(act).eval()


class _Moved(nn.Module):
    """Parts of the channels, a shuffle, and maps enlarged by copies and from channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act, self.part = nn.Conv2d(3, 8, 2, 2), nn.LeakyReLU(0.125), nn.Conv2d(4, 4, 1)
        self.first, self.second, self.shuffle = ChannelSlice(0, 4), ChannelSlice(4, 8), nn.ChannelShuffle(2)
        self.up, self.wide, self.blocks = nn.Upsample(scale_factor=2), nn.Conv2d(8, 8, 1), nn.PixelShuffle(2)
        self.norm, self.neck, self.fc = nn.BatchNorm2d(2), nn.Conv2d(10, 4, 2, 2), nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        x = self.shuffle(torch.cat([self.first(x), functional.relu(self.part(self.second(x)))], 1))
        x = torch.cat([self.up(x), functional.relu(self.norm(self.blocks(self.wide(x))))], 1)
        return self.fc(functional.relu(self.neck(x)).flatten(1))


def _moved() -> nn.Module:
    return _settled(_Moved())


def _decoder() -> nn.Module:
    """Smooth functions, features as a map, a transposed convolution as it is read, what stands behind its moves."""
    code = [nn.Conv2d(3, 4, 2, 2), nn.Softplus(), nn.Flatten(), nn.Linear(64, 12), Abs(), nn.Unflatten(1, (3, 2, 2))]
    moves = [nn.ChannelShuffle(4), BlockShuffle(2, 4), PositionSlice(range(1, 5), range(2, 10))]
    behind = [nn.BatchNorm2d(2), nn.PReLU(2), LinearUpsample(2, 1), nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)]
    return _settled(
        nn.Sequential(*code, nn.Conv2d(3, 16, 2, padding=1), *moves, *behind, nn.Flatten(), nn.Linear(32, 5))
    )


def _tied() -> nn.Module:
    layers = [nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(192, 5)]
    layers[1].weight = layers[0].weight
    return nn.Sequential(*layers).eval()


@pytest.mark.parametrize(
    ("model", "bits", "own_pixels"),
    [
        (_head, Bits(4, 4), True),
        (_smooth_head, Bits(8, 8), True),
        (_smooth_head, Bits(8, 8, tables=False), True),
        (_tied, Bits(8, 8), True),
        (_resnet, Bits(3, 4, per_channel=False), False),
        (_bottleneck, Bits(8, 8), True),
        (_bottleneck, Bits(8, 8, factors=16), True),
        (_dense, Bits(4, 6), True),
        (_excited, Bits(4, 6), True),
        (_slopes, Bits(6, 6), True),
        (_tanh_head, Bits(6, 6), True),
        (_normed, Bits(6, 6), True),
        (_moved, Bits(6, 6), True),
        (_decoder, Bits(6, 6), True),
    ],
    ids=[
        "head", "smooth head", "curves of sums", "tied", "resnet", "bottleneck", "short factors", "dense", "excited",
        "slopes", "tanh", "norm", "moved", "decoder",
    ],
)  # fmt: skip
def test_the_file_and_its_integers_compute_what_the_quantized_network_does(
    model, bits: Bits, own_pixels: bool, tmp_path: Path
) -> None:
    """The gate compares network and file, `compare` the file and the integers; both raise at a difference."""
    pixels = PIXELS if own_pixels else PixelMap(PIXELS.scale, (PIXELS.offset[0] / 3,))  # zero is no pixel: a quantizer
    images = Images("random", _pixels(48), _pixels(8))
    quantize_to(tmp_path, Source("net", model(), SHAPE, pixels), images, bits)
    file = read_qonnx(tmp_path / "model.onnx")
    assert file.encoding is not None
    integer = to_integer(file.graph, file.encoding)
    found = compare(file, integer, images.test.transpose(0, 2, 3, 1))
    assert (found.images, found.top1) == (8, 1.0) and found.codes > 1000
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["methods"], metrics["calibration_images"], metrics["top1"]) == (["ptq"], 48, None)
    assert (metrics["weight_bits"], metrics["act_bits"], metrics["agreement_images"]) == (bits.weights, bits.acts, 8)


def test_batch_norms_and_slopes_go_in_front_of_the_moves_behind_which_they_stand() -> None:
    model, x = _decoder(), torch.rand(2, *SHAPE)
    graph = layer_graph(model, x)
    kinds = [type(layer_of(graph, node)).__name__ for node in graph.graph.nodes if node.op == "call_module"]
    assert kinds[6:11] == ["Conv2d", "PReLU", "ChannelShuffle", "BlockShuffle", "PositionSlice"]
    assert torch.allclose(graph(x), model(x), atol=1e-5)
    at_the_end = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Sigmoid(), nn.Flatten())  # the host's
    assert [str(node.target) for node in layer_graph(at_the_end, x).graph.nodes][1:-1] == ["0", "1", "2", "3"]


def test_a_network_of_signals_is_quantized_down_to_its_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv1d(2, 6, 5, 2, 2), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 8, 3, groups=2), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 4))
    signals = np.random.default_rng(0).normal(0, 0.5, (40, 2, 48)).astype(np.float32)
    model.train()(torch.from_numpy(signals))
    images = Images("random", signals[:32], signals[32:])
    quantize_to(tmp_path, Source("net", model.eval(), (2, 48), None), images, Bits(6, 8))  # type: ignore[arg-type]
    assert check(tmp_path / "model.onnx").supported
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["agreement"] == 1.0


def test_features_behind_a_batch_norm_and_tokens_of_a_signal_are_quantized_down_to_their_integers(
    tmp_path: Path,
) -> None:
    """Real numbers pass a quantizer of the network whatever reads them first."""
    features = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    tokens = nn.Sequential(
        nn.Conv1d(2, 6, 5, 2, 2), nn.ReLU(), nn.Linear(24, 8), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    )
    mean = nn.Sequential(nn.Linear(48, 8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2, 4))
    networks = (("features", features, (6,)), ("tokens", tokens, (2, 48)), ("mean of tokens", mean, (2, 48)))
    for name, model, shape in networks:
        x = np.random.default_rng(0).normal(0, 0.5, (40, *shape)).astype(np.float32)
        model.train()(torch.from_numpy(x))
        out = tmp_path / name
        quantize_to(out, Source("net", model.eval(), shape, None), Images("random", x[:32], x[32:]), Bits(6, 8))  # type: ignore[arg-type]
        assert check(out / "model.onnx").supported
        assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["agreement"] == 1.0


def test_short_factors_are_short_and_change_the_output_by_little(tmp_path: Path) -> None:
    """Those of convolutions over one power of two, that of the mean over its own, in at most 17 bits."""
    images, factors = Images("random", _pixels(48), _pixels(8)), {}
    for name, bits in (("free", Bits(8, 8)), ("short", Bits(8, 8, factors=16))):
        quantize_to(tmp_path / name, Source("net", _bottleneck(), SHAPE, PIXELS), images, bits)
        file = read_qonnx(tmp_path / name / "model.onnx")
        assert file.encoding is not None
        graph = to_integer(file.graph, file.encoding)
        makers = {value.name: node for node in graph.nodes for value in node.outputs}
        found = [node for node in graph.nodes if isinstance(node, MulShift)]
        products = [node for node in found if isinstance(makers[node.inputs[0]], MatVec | Depthwise)]
        (mean,) = (node for node in found if isinstance(makers[node.inputs[0]], GlobalSum))
        shift = max(node.shift for node in products)
        lengths = [int(np.abs(node.mul).max()).bit_length() + shift - node.shift for node in products]
        factors[name] = max(*lengths, int(np.abs(mean.mul).max()).bit_length())
    assert factors["short"] <= 17 < factors["free"]

    x = torch.from_numpy(PIXELS.apply(_pixels(64)))
    model = _bottleneck()
    with torch.no_grad():
        output = model(x)
        free, short = (
            float((quantize(model, x, bits, pixels=True, pixel_step=float(PIXELS.scale[0]))(x) - output).norm())
            for bits in (Bits(8, 8), Bits(8, 8, factors=16))
        )
    assert short < 2 * free


def test_factors_of_weights_behind_a_mean_are_short_multiples_of_one_power_of_two() -> None:
    """Exactly, as the numbers of the file have it: a mean's step is no short multiple of a power of two."""
    torch.manual_seed(0)
    layers = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    x = torch.rand(40, 3, 9, 9)
    network = quantize(nn.Sequential(nn.Conv2d(3, 8, 3), *layers), x, Bits(8, 8, factors=16), pixels=False)
    made = dict(network.named_children())
    mean, hidden = (Fraction(made[name].act_quant.scale().item()) for name in ("2_codes", "5"))
    factors = [mean * Fraction(step) / hidden for step in made["4"].weight_quant.scale().flatten().tolist()]
    denominator = max(factor.denominator for factor in factors)
    assert denominator & (denominator - 1) == 0 and int(max(factors) * denominator).bit_length() <= 16


@pytest.mark.parametrize(("largest", "step"), [(1.0, 3 / 256), (0.75, 3 / 512), (1.2, 3 / 256), (6.0, 3 / 64)])
def test_a_step_that_gives_short_factors_does_not_clip_for_a_finer_grid(largest: float, step: float) -> None:
    """127 of 3 / 512 are 0.74: what is above would be cut off for half the rounding errors."""
    x = torch.linspace(-largest, largest, 400).reshape(40, 10)
    torch.manual_seed(0)
    network = quantize(nn.Sequential(nn.Linear(10, 4)), x, Bits(8, 8, factors=16), pixels=False)
    found = [layer.act_quant.scale().item() for name, layer in network.named_children() if name.endswith("_codes")]
    assert found == [step]


def test_quantizers_take_no_name_that_a_layer_has() -> None:
    torch.manual_seed(0)
    layers = {"act": nn.Sigmoid(), "act_codes": nn.Linear(6, 4)}
    network = quantize(nn.Sequential(OrderedDict(layers)), torch.rand(40, 6), Bits(8, 8), pixels=False)
    found = dict(network.named_children())
    assert isinstance(found["act_codes"], nn.Linear) and not isinstance(found["act_codes_2"], nn.Linear)


@pytest.mark.parametrize("bits", [7, 25])
def test_factors_of_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(UserError, match=f"^{bits} bits for factors; give 8 to 24$"):
        Bits(8, 8, factors=bits)


def test_eight_bits_change_the_output_by_little_and_fewer_by_more() -> None:
    model, x = _resnet(), torch.from_numpy(PIXELS.apply(_pixels(64)))
    with torch.no_grad():
        output = model(x)
        errors = [
            float((quantize(model, x, Bits(bits, bits), pixels=True)(x) - output).norm() / output.norm())
            for bits in (8, 4, 2)
        ]
    assert 3 * errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("room", [0, 100_000])
def test_what_lies_in_files_gives_the_same_network(room: int) -> None:
    """Layers' outputs all in files, or in part: weights, biases and steps are equal to the last bit; no file stays."""
    model, x = _resnet(), torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(3))
    plain = quantize(model, x, Bits(4, 4), pixels=True).state_dict()
    spilled = quantize(model, x, Bits(4, 4), pixels=True, room=room).state_dict()

    assert plain.keys() == spilled.keys()
    assert all(torch.equal(plain[name], spilled[name]) for name in plain)


def test_a_store_takes_what_fits_and_writes_the_rest() -> None:
    """Room that is given back is used again; files vanish when they are dropped."""
    store = Store(100)
    first = store.keep(torch.full((10,), float(i)) for i in range(4))  # of 40 bytes each
    folder = Path(store.folder)
    assert len(list(folder.iterdir())) == 2
    assert [int(part[0]) for part in first] == [0, 1, 2, 3]
    first.drop()
    assert not list(folder.iterdir())
    store.keep(torch.zeros(10) for _ in range(2))
    assert not list(folder.iterdir())


def test_the_graph_computes_what_the_model_does_without_its_batch_norms() -> None:
    model, x = _resnet(), torch.from_numpy(PIXELS.apply(_pixels(4)))
    graph = layer_graph(model, torch.rand(2, *SHAPE))
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in graph.modules())
    with torch.no_grad():
        assert torch.allclose(graph(x), model(x), atol=1e-5)


def test_a_batch_norm_without_a_convolution_of_its_own_stays_and_a_shared_layer_is_copied() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(3, 3, 1), relu, nn.BatchNorm2d(3), relu, nn.Conv2d(3, 3, 1))
    graph = layer_graph(model, torch.rand(2, *SHAPE))
    targets = [str(node.target) for node in graph.graph.nodes]
    assert targets == ["input", "0", "1", "2", "1_2", "4", "output"]


@pytest.mark.parametrize("length", [6, 5])  # as many outputs as channels, or fewer
def test_a_batch_norm_behind_a_linear_layer_over_the_length_of_a_signal_stays(length: int) -> None:
    last = [nn.Flatten(), nn.Linear(6 * length, 4), nn.BatchNorm1d(4)]
    model = nn.Sequential(nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.Linear(8, length), nn.BatchNorm1d(6), *last)
    x = torch.rand(16, 2, 10)
    for layer in model:
        if isinstance(layer, nn.BatchNorm1d):
            nn.init.uniform_(layer.weight, 0.5, 2)
    model(x)
    graph = layer_graph(model, x)
    assert [str(node.target) for node in graph.graph.nodes] == ["input", "0", "2", "3", "4", "5", "output"]
    with torch.no_grad():
        assert torch.allclose(graph(x), model.eval()(x), atol=1e-5)


def test_quantizers_stand_where_codes_are_read() -> None:
    """Not behind pixels, a maximum of codes and the last layer; a mean's are of the kind that it is of.

    In front of what moves values alone: hardware makes codes where a sum is.
    """
    pool, head = nn.Sequential(nn.AvgPool2d(2), nn.Flatten()), nn.Sequential(nn.Linear(12, 4), nn.Linear(4, 2))
    for clamp, kind in (
        (nn.ReLU(), Values.POSITIVE),
        (nn.Hardtanh(0, 1), Values.POSITIVE),
        (nn.SiLU(), Values.LEANING),
        (nn.Hardtanh(-1, 1), Values.SIGNED),
    ):
        model = nn.Sequential(nn.Conv2d(3, 3, 1), clamp, nn.MaxPool2d(2), pool, head)
        graph = layer_graph(model, torch.rand(2, *SHAPE))
        found = {str(node.target): kind for node, kind in places(graph, pixels=True, tables=False).items()}
        assert found == {"1": kind, "3.0": kind, "4.0": Values.SIGNED}
        assert next(iter(places(graph, pixels=False))).op == "placeholder"


def test_what_a_product_reads_stays_signed_and_the_product_itself_leans() -> None:
    """A unit of its own would take a factor's zero point away."""
    graph = layer_graph(_smooth_head(), torch.rand(2, *SHAPE))
    found = {node.name: kind for node, kind in places(graph, pixels=True, tables=False).items()}
    leaning = dict.fromkeys(("act", "add", "mul", "act_1"), Values.LEANING)
    assert found == leaning | {"pool_2": Values.SIGNED}


def test_a_smooth_function_of_one_value_below_zero_has_a_code_for_it() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.SiLU(), nn.Conv2d(1, 1, 1)).eval()
    for constant, value in ((model[0].weight, 0.0), (model[0].bias, -1.0)):
        nn.init.constant_(constant, value)  # type: ignore[arg-type]
    network = quantize(model, torch.rand(4, 1, 2, 2), Bits(8, 8, tables=False), pixels=True)
    found = network.get_submodule("1_codes")(torch.tensor([-0.26894143]))
    assert torch.allclose(found, torch.tensor([-0.26894143]), rtol=1 / 128)  # half a step of 128 codes


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("act", [nn.SiLU(), nn.GELU(), nn.Mish(), nn.Hardswish(), nn.ELU()])
def test_a_zero_point_lets_the_codes_of_a_smooth_function_lie_closer(act: nn.Module, bits: int) -> None:
    """It is even, and the error is below that of signed codes of as many bits."""
    x = torch.linspace(-6.0, 6.0, 1000)
    given, values = Bits(8, bits - (bits < 8), tables=False), act(x)
    network = quantize(nn.Sequential(act, nn.Conv2d(1, 1, 1)).eval(), x.reshape(10, 1, 10, 10), given, pixels=True)
    quantizer = network.get_submodule("0_codes").act_quant.fused_activation_quant_proxy.tensor_quant
    found, step, zero_point, width = quantizer(values)
    assert (float(width), float(zero_point) % 2) == (bits, 0) and 0 < float(zero_point) < 2 ** (bits - 1)
    codes = found / step + zero_point
    assert float(codes.min()) >= 0 and float(codes.max()) <= 2**bits - 1
    signed = Levels.activation(bits, signed=True)
    before = nearest(values, least_squares_step(values, signed, ()), signed)
    assert float((found - values).square().sum()) < 0.5 * float((before - values).square().sum())


def test_smooth_functions_read_codes_of_eight_bits_so_that_an_engine_runs_them(tmp_path: Path) -> None:
    """Without tables they are functions of a convolution's sums, for which an engine has no unit."""
    images = Images("random", _pixels(24), _pixels(4))
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 5))
    for tables in (True, False):
        bits = Bits(4, 4, tables=tables)
        quantize_to(tmp_path / str(tables), Source("net", model.eval(), SHAPE, PIXELS), images, bits)
        graph = to_integer(read_qonnx(tmp_path / str(tables) / "model.onnx").graph)
        found = [graph.value(node.inputs[0]).qint for node in graph.nodes if isinstance(node, Lookup)]

        assert (refusals(graph) == []) is tables
        assert found == [QInt(8, True)] * (2 if tables else 0)


def test_steps_of_what_is_added_are_in_a_ratio_of_four_bits() -> None:
    model, x = _resnet(), torch.from_numpy(PIXELS.apply(_pixels(32)))
    network, sums = quantize(model, x, Bits(), pixels=True), 0
    for node in network.graph.nodes:
        if node.op == "call_function":
            steps = [float(layer_of(network, source).act_quant.scale()) for source in node.args]  # type: ignore[union-attr]
            numerator, denominator = (steps[0] / steps[1]).as_integer_ratio()
            inverse = (steps[1] / steps[0]).as_integer_ratio()
            assert (numerator < 16 and denominator in POWERS) or (inverse[0] < 16 and inverse[1] in POWERS)
            sums += 1
    assert sums == 3


def test_the_step_behind_a_relu6_stays_below_its_bound() -> None:
    """So the quantizer clamps before the ReLU6 would, and the ReLU6 can be left out."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 2, 1)).eval()
    nn.init.constant_(model[0].bias, 20.0)  # type: ignore[arg-type,union-attr]
    network = quantize(model, torch.rand(8, *SHAPE), Bits(8, 4), pixels=True)
    step = float(network.get_submodule("1").act_quant.scale())  # type: ignore[operator,union-attr]
    assert 5.9 < 15 * step <= 6


def _moments(own: torch.Tensor, plain: torch.Tensor) -> Moments:
    moments = Moments.empty(own.shape[0], own.shape[1])
    moments.add(own, plain)
    return moments


@pytest.mark.parametrize("bits", [1, 3, 4])
def test_rounding_keeps_the_output_closer_than_the_nearest_codes_do(bits: int) -> None:
    mixed = torch.randn(2, 12, 12) @ torch.randn(2, 12, 4000)
    own, weight, levels = mixed + 0.02 * torch.randn(2, 12, 4000), torch.randn(2, 5, 12), Levels.weight(bits)
    found = round_weights(weight, _moments(own, mixed), levels, per_channel=True)
    codes = found.weight / found.step[..., None]
    assert torch.allclose(codes, codes.round(), atol=1e-9) and codes.round().abs().max() <= levels.high
    simple = nearest(weight.double(), found.step[..., None], levels)
    outputs = weight @ mixed

    def error(rounded: torch.Tensor) -> float:
        off = rounded.float() @ own - outputs
        return float((off - off.mean(2, keepdim=True)).square().sum())

    assert error(found.weight) < 0.9 * error(simple)


def test_the_bias_takes_up_the_mean_error() -> None:
    plain = torch.randn(1, 6, 500) + 3
    own, weight = (plain * 0.9).round(), torch.randn(1, 4, 6)
    for bits in (3, 8):
        found = round_weights(weight, _moments(own, plain), Levels.weight(bits), per_channel=False)
        assert len(found.step.unique()) == 1
        off = found.weight.float() @ own + found.shift.float()[..., None] - weight @ plain
        assert off.mean(2).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("offset", "spread", "samples"),
    [(0.0, 1.0, 1), (0.0, 0.0, 48), (3.0, 0.0, 48), (300.0, 0.05, 48), (1800.0, 0.05, 48), (1e6, 0.05, 48)],
)
def test_inputs_that_hardly_vary_are_rounded_without_a_large_error(offset: float, spread: float, samples: int) -> None:
    """One sample, constants, and features whose spread is lost in float32's square of their mean."""
    plain = offset + spread * torch.randn(1, 6, samples)
    own, weight, levels = (plain / 2).round() * 2, torch.randn(1, 4, 6), Levels.weight(4)
    found = round_weights(weight, _moments(own, plain), levels, per_channel=True)
    assert (found.weight - weight).abs().max() < 2 * found.step.max() < 1
    assert (found.weight / found.step[..., None]).round().abs().max() <= levels.high


def test_second_moments_that_are_not_positive_are_rounded_to_the_nearest_codes() -> None:
    """In their group alone; the other one is rounded as it was."""
    plain, weight, levels = torch.randn(2, 6, 100) @ torch.randn(2, 100, 100), torch.randn(2, 4, 6), Levels.weight(3)
    moments = _moments(plain, plain)
    whole = round_weights(weight, moments, levels, per_channel=True)
    moments.gram[1] = torch.eye(6) - 2
    found = round_weights(weight, moments, levels, per_channel=True)
    assert torch.equal(found.weight[0], whole.weight[0])
    assert torch.allclose(found.weight[1], nearest(weight[1].double(), found.step[1, :, None], levels))


@pytest.mark.parametrize(("offset", "direct"), [("0", True), ("-127/128", True), ("-1/3", False), ("1/128", False)])
def test_pixels_are_read_as_they_are_where_one_of_them_means_zero(offset: str, direct: bool) -> None:
    assert holds_codes(PixelMap((Fraction(1, 128),), (Fraction(offset),))) is direct


@pytest.mark.parametrize(
    ("model", "bits", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 2, 1)), {"layers": {"O": 3}}, "unknown layer 'O'"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), {"weights": 9}, "9 bits for weights; give 1 to 8"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), {"layers": {"0": 0}}, "0 bits for layer '0'; give 1 to 8"),
        (nn.Sequential(nn.Conv2d(3, 2, 1), nn.Softsign()), {}, "a Softsign cannot be built [layer '1']; use "),
        (
            nn.Sequential(nn.Upsample(scale_factor=1.5)),
            {},
            "an upsampling of (3, 8, 8) by (1.5, 1.5), mode='nearest' [",
        ),
        (nn.Sequential(nn.Conv2d(3, 2, 3, padding_mode="reflect")), {}, "it pads with 'reflect' [layer '0']"),
    ],
)
def test_what_cannot_be_quantized_is_said(model: nn.Module, bits: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        quantize(model, torch.rand(2, *SHAPE), Bits(**bits), pixels=True)
    assert str(caught.value).startswith(message)
