"""Channels that belong together, and networks that compute the same without those that were masked."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import brevitas.nn as qnn
import pytest
import torch
from brevitas.nn import QuantHardTanh, QuantSigmoid
from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerChannelFloatMSE
from torch import nn

from toolchain.config.run import parse_config
from toolchain.errors import UserError
from toolchain.train.methods.gates import Gates
from toolchain.train.models import build
from toolchain.train.own.trace import layer_graph
from toolchain.train.shrink import normalized_layers, remove_channels, structure_of
from toolchain.train.statistics import macs, parameters
from toolchain.train.structure import mask_weight

SHAPES = {"lenet5": (1, 28, 28), "vgg-small": (3, 16, 16), "resnet8": (3, 16, 16), "tfc": (1, 8, 8)}


def _network(model: str, width: float = 0.5, **quant: Any) -> nn.Module:
    """Seeded, with every activation a multiple of a power of two and batch norms that vary by channel.

    All sums are then exact in float32, so that their order cannot matter.
    """
    torch.manual_seed(0)
    table = {"name": "t", "model": {"name": model, "width": width}, "quant": {"scale": "pot", **quant}}
    network = build(parse_config(table, where="test"), SHAPES[model], 10)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, -1.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 1.0)
    with torch.no_grad():
        network(_images(model, 32))
    return network.eval()


def _images(model: str, count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, *SHAPES[model])) / 256


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
@pytest.mark.parametrize("model", ["lenet5", "vgg-small", "resnet8", "tfc"])
def test_the_shrunk_network_has_the_masked_networks_logits_bit_for_bit(model: str, granularity: str) -> None:
    network = _network(model, 0.5 if model != "vgg-small" else 0.0625, weight_granularity=granularity)
    structure = structure_of(network, SHAPES[model])
    gates, kept = Gates(network, structure), {}
    for group in structure.free:
        mask = torch.rand(group.size) < 0.6
        mask[0] = True
        gates.factors[group.name] = mask.float()
        kept[group.name] = mask.nonzero().flatten().tolist()
    x = _images(model, 16)
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        assert not torch.equal(network(x), masked)
        for name, indices in kept.items():
            remove_channels(network, name, indices)
        assert torch.equal(network(x), masked)


@pytest.mark.parametrize("model", list(SHAPES))
def test_counts_are_those_of_the_network_before_and_after(model: str) -> None:
    network, shape = _network(model, 0.25), SHAPES[model]
    structure = structure_of(network, shape)
    assert structure.macs(structure.counts) == macs(network, shape)
    assert structure.params(structure.counts) == parameters(network)
    counts = structure.counts | {group.name: -(-group.size // 3) for group in structure.free}
    for group in structure.free:
        remove_channels(network, group.name, list(range(counts[group.name])))
    assert structure.macs(counts) == macs(network, shape)
    assert structure.params(counts) == parameters(network)


def test_residual_adds_join_the_channels_of_a_stage() -> None:
    groups = structure_of(_network("resnet8")).groups
    assert groups["conv1"].gates == ("bn1", "stage1_1.bn2")
    assert groups["stage2_1.conv2"].gates == ("stage2_1.bn2", "stage2_1.shortcut.bn")
    assert [name for name, group in groups.items() if not group.free] == ["input", "fc"]


def test_a_depthwise_filter_loses_the_channels_of_its_input() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(6 * 16, 3),
    ).eval()  # fmt: skip
    structure = structure_of(network, (1, 8, 8))
    assert [group.name for group in structure.free] == ["0"]
    assert structure.groups["0"].gates == ("1", "4")
    gates = Gates(network, structure)
    gates.factors["0"] = torch.tensor([1.0, 0, 1, 0, 0, 1])
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        remove_channels(network, "0", [0, 2, 5])
        assert torch.allclose(network(x), masked, atol=1e-6)  # float sums in another order
    assert structure.macs(structure.counts | {"0": 3}) == macs(network, (1, 8, 8))


def test_kept_zeros_follow_their_weights() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]]).bool()
    mask_weight(network[2], mask)
    before = network[2].weight.detach()
    remove_channels(network, "0", [0, 2])
    assert torch.equal(network[2].weight, before[:, [0, 2]])
    assert torch.equal(network[2].parametrizations.weight[0].mask, mask[:, [0, 2]])


@pytest.mark.parametrize("quant", [Int8WeightPerChannelFloat, Int8WeightPerChannelFloatMSE])
def test_scales_that_brevitas_takes_from_each_filter_go_with_it(quant: type) -> None:
    network = nn.Sequential(
        qnn.QuantConv2d(1, 6, 3, weight_quant=quant), qnn.QuantConv2d(6, 6, 3, groups=6, weight_quant=quant),
        nn.Flatten(), qnn.QuantLinear(6 * 16, 5, True, weight_quant=quant), qnn.QuantLinear(5, 2, True),
    )  # fmt: skip
    before = {name: network[name].quant_weight() for name in (0, 1, 3)}
    remove_channels(network, "3", [0, 2, 3])
    assert torch.equal(network[3].quant_weight().value, before[3].value[[0, 2, 3]])
    remove_channels(network, "0", [1, 4])
    for name in (0, 1):
        weight = network[name].quant_weight()
        assert torch.equal(weight.value, before[name].value[[1, 4]])
        assert torch.equal(weight.scale, before[name].scale[[1, 4]])
    assert network(torch.rand(3, 1, 8, 8)).shape == (3, 2)


@pytest.mark.parametrize("kept", [[], [1, 0], [0, 3], [0, 0]])
def test_channels_that_are_not_there_are_refused(kept: list[int]) -> None:
    with pytest.raises(UserError, match="'fc1' has channels 0 to 1; to keep:"):
        remove_channels(_network("tfc", 1 / 32), "fc1", kept)


def test_the_networks_outputs_stay() -> None:
    with pytest.raises(UserError, match="'fc' writes no channels that can be removed"):
        remove_channels(_network("tfc", 1 / 32), "fc", [0])


def test_an_operation_that_channels_cannot_be_followed_through_is_named() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sub(self.conv(x), x)

    with pytest.raises(UserError, match="channels cannot be followed through '.*sub.*'; this network cannot be pruned"):
        structure_of(Scaled())


def test_a_layer_that_is_called_twice_is_named() -> None:
    """Its inputs are its outputs: the channels of the two would have to go together."""
    layer = nn.Conv2d(4, 4, 3, padding=1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(144, 2))
    with pytest.raises(UserError, match="channels cannot be followed through '1', which is called twice; this network"):
        structure_of(network, (1, 8, 8))


class _Dense(nn.Module):
    """A block whose input and output stand side by side, normalized together, in front of a bottleneck."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.grow = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 3, 1)
        self.norm, self.neck, self.last = nn.BatchNorm2d(7), nn.Conv2d(7, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.grow(self.inner(x))], 1)
        return self.last(self.neck(self.norm(x)))


def test_what_is_concatenated_stays_and_the_layers_beside_it_can_shrink() -> None:
    network = _Dense().eval()
    structure = structure_of(network, (1, 6, 6))
    assert {group.name: group.size for group in structure.free} == {"inner": 6, "neck": 5}
    assert structure.macs(structure.counts) == macs(network, (1, 6, 6))
    gates = Gates(network, structure)
    gates.factors["inner"] = torch.tensor([1.0, 0, 1, 1, 0, 1])
    x = torch.randn(2, 1, 6, 6)
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        remove_channels(network, "inner", [0, 2, 3, 5])
        assert torch.allclose(network(x), masked, atol=1e-6)  # float sums in another order


def test_a_tensor_that_is_concatenated_with_itself_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.neck, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(8, 5, 1), nn.Conv2d(5, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.last(self.neck(torch.cat([x, x], 1)))

    network = Twice().eval()
    structure = structure_of(network, (1, 6, 6))
    assert {group.name: group.size for group in structure.free} == {"neck": 5}
    assert structure.macs(structure.counts) == macs(network, (1, 6, 6))
    assert structure.params(structure.counts) == parameters(network)


def test_what_is_shuffled_or_cut_stays_and_a_norm_behind_is_no_gate_in_front() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.inner, self.wide = nn.Conv2d(4, 6, 3), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1)
            self.shuffle, self.norm, self.last = nn.PixelShuffle(2), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(torch.cat([x[:, :, ::2], x[:, :, 1::2]], 1))
            x = self.inner(x[:, 3:])
            return self.last(self.norm(self.shuffle(self.wide(x))))

    example = torch.rand(2, 2, 12, 6)
    graph = layer_graph(Shuffled(), example)
    for shape in (None, (2, 12, 6)):
        structure = structure_of(graph, shape)
        assert {group.name: (group.size, group.gates) for group in structure.free} == {"inner": (8, ("inner",))}
        assert {layer.name: structure.groups[str(layer.reads)].size for layer in structure.layers} == {
            "stem": 4, "inner": 3, "wide": 8, "last": 3,
        }  # fmt: skip
    assert structure.macs(structure.counts) == macs(graph, (2, 12, 6))
    gates = Gates(graph, structure)
    gates.factors["inner"] = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1])
    with torch.no_grad():
        masked = graph(example)
        gates.remove()
        remove_channels(graph, "inner", [0, 2, 3, 5, 6, 7])
        assert torch.allclose(graph(example), masked, atol=1e-6)  # float sums in another order


@pytest.mark.parametrize("join", [operator.add, operator.mul])
def test_a_tensor_joined_with_itself_loses_its_channels(join: Callable[[Any, Any], torch.Tensor]) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.last = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.last(join(x, x))

    network, x = Joined().eval(), torch.randn(2, 1, 6, 6)
    structure = structure_of(network, (1, 6, 6))
    gates = Gates(network, structure)
    gates.factors["stem"] = torch.tensor([1.0, 0, 1, 0])
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        remove_channels(network, "stem", [0, 2])
        assert torch.allclose(network(x), masked, atol=1e-6)  # float sums in another order
    assert structure.macs(structure.counts | {"stem": 2}) == macs(network, (1, 6, 6))


def test_a_batch_norm_behind_a_pool_is_the_gate_and_one_in_front_of_a_layer_keeps_its_channels() -> None:
    """Behind a pool a zero of the norm is zero for all; in front of a layer it makes something else of a zero."""
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert [group.gates for group in structure_of(pooled).free] == [("2",)]

    class Before(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm, self.conv, self.last = (
                nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1),
            )  # fmt: skip

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            return self.last(x + self.conv(self.norm(x)))

    assert structure_of(Before()).free == []


class _Product(nn.Module):
    """Convolutions a and b of one input, what ``join`` makes of the one and a Sigmoid of the other, and a last one."""

    def __init__(self, join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)
        self.function, self.pool, self.join = nn.Hardsigmoid(), nn.AdaptiveAvgPool2d(1), join

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.join(self.a(x), self.pool(self.function(self.b(x)))))


def test_factors_of_a_product_lose_the_same_channels() -> None:
    """A Sigmoid makes a half of a zero, and of a half times zero there is nothing left: squeeze and excite."""
    network, x = _Product(operator.mul).eval(), torch.randn(2, 1, 6, 6)
    structure = structure_of(network, (1, 6, 6))
    (group,) = structure.free
    assert (group.size, set(group.gates)) == (4, {"a", "b"})
    gates = Gates(network, structure)
    gates.factors[group.name] = torch.tensor([1.0, 0, 1, 0])
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        remove_channels(network, group.name, [0, 2])
        assert torch.allclose(network(x), masked, atol=1e-6)  # float sums in another order
    assert structure.macs(structure.counts | {group.name: 2}) == macs(network, (1, 6, 6))


@pytest.mark.parametrize(
    "join",
    [lambda a, s: s, lambda a, s: a + s, lambda a, s: s * s, lambda a, s: (a + s) * s, lambda a, s: a * s + s],
)
def test_what_a_sigmoid_reads_stays_where_more_than_a_product_with_a_zero_is_taken_of_it(
    join: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> None:
    assert "b" not in {name for group in structure_of(_Product(join)).free for name in group.gates}


@pytest.mark.parametrize(
    ("function", "free"),
    [
        (nn.Hardtanh(0.5, 4), False),
        (nn.Hardtanh(-4, -0.5), False),
        (QuantSigmoid(), False),
        (nn.Hardtanh(0, 4), True),
        (nn.Hardtanh(-4, 0), True),
        (nn.ReLU6(), True),
        (nn.PReLU(), True),
        (nn.PReLU(4), False),
        (QuantHardTanh(min_val=0.5, max_val=4.0), True),  # its codes reach zero whatever its bounds are
    ],
)
def test_what_a_clamp_without_zero_or_slopes_of_the_channels_read_stays(function: nn.Module, free: bool) -> None:
    structure = structure_of(nn.Sequential(nn.Conv2d(1, 4, 1), function, nn.Conv2d(4, 2, 1)))
    assert structure.groups["0"].free == free


def test_channels_in_front_of_a_linear_layer_over_the_length_of_a_signal_stay_and_its_matrix_counts_once() -> None:
    network = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.ReLU(), nn.Conv1d(6, 5, 3), nn.ReLU(), nn.Linear(8, 7), nn.BatchNorm1d(5),
        nn.Linear(7, 4), nn.Flatten(), nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 3),
    ).eval()  # fmt: skip
    shape = (2, 12)
    structure = structure_of(network, shape)
    assert {group.name: group.size for group in structure.free} == {"0": 6, "8": 9}
    assert structure.macs(structure.counts) == macs(network, shape)
    assert structure.params(structure.counts) == parameters(network)
    gates, x = Gates(network, structure), torch.randn(4, *shape)
    gates.factors |= {"0": torch.tensor([1.0, 0, 1, 1, 0, 0]), "8": torch.tensor([0.0, 1, 1, 0, 0, 0, 0, 0, 1])}
    with torch.no_grad():
        masked = network(x)
        gates.remove()
        remove_channels(network, "0", [0, 2, 3])
        remove_channels(network, "8", [1, 2, 8])
        assert torch.allclose(network(x), masked, atol=1e-6)  # float sums in another order
    assert structure.macs(structure.counts | {"0": 3, "8": 3}) == macs(network, shape)
    assert structure.params(structure.counts | {"0": 3, "8": 3}) == parameters(network)


@pytest.mark.parametrize(
    ("layers", "shape", "free"),
    [
        ([nn.Linear(6, 5), nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)], (2, 6), ["1"]),
        ([nn.Flatten(2), nn.Linear(6, 5), nn.Flatten(), nn.Linear(10, 4), nn.Linear(4, 3)], (2, 1, 6), ["3"]),
        ([nn.Linear(6, 5), nn.Flatten(), nn.Linear(10, 4), nn.Linear(4, 3)], (2, 6), ["2"]),
    ],
)
def test_a_network_may_begin_over_the_length_of_its_signal(
    layers: list[nn.Module], shape: tuple[int, ...], free: list[str]
) -> None:
    network = nn.Sequential(*layers).eval()
    structure = structure_of(network, shape)
    assert structure.groups["input"].size == 2 and [group.name for group in structure.free] == free
    remove_channels(network, free[0], [0, 3])
    assert structure.macs(structure.counts | {free[0]: 2}) == macs(network, shape)
    assert structure.params(structure.counts | {free[0]: 2}) == parameters(network)


def test_a_batch_norm_belongs_to_the_layer_in_front_of_it_whatever_was_defined_first() -> None:
    class Unordered(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_b, self.norm_a = nn.BatchNorm2d(4), nn.BatchNorm2d(4)
            self.b, self.a = nn.Conv2d(4, 4, 1), nn.Conv2d(1, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm_b(self.b(self.norm_a(self.a(x))))

    network = Unordered()
    assert [(layer, name) for layer, name, _ in normalized_layers(network, (1, 4, 4))] == [
        (network.a, "norm_a"),
        (network.b, "norm_b"),
    ]
    with pytest.raises(UserError, match=r"it does not stand right behind a layer of its own \[batch norm '0'\]"):
        normalized_layers(nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 1)), (1, 4, 4))


@pytest.mark.parametrize("length", [6, 5])  # as many outputs as channels, or fewer
def test_a_batch_norm_behind_a_linear_layer_over_the_length_of_a_signal_is_not_folded(length: int) -> None:
    network = nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.Linear(8, length), nn.BatchNorm1d(6), nn.Flatten(),
        nn.Linear(6 * length, 4), nn.BatchNorm1d(4),
    ).eval()  # fmt: skip
    assert network(torch.rand(3, 2, 10)).shape == (3, 4)
    with pytest.raises(UserError) as refusal:
        normalized_layers(network, (2, 10))
    assert str(refusal.value) == (
        "it stands behind '2', whose weights are the same for all channels [batch norm '3']; "
        "such a batch norm cannot be folded into weights"
    )
    assert [name for _, name, _ in normalized_layers(network[4:], (6, length))] == ["6"]


def test_a_shortcut_of_other_channels_is_refused() -> None:
    class Widening(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + self.b(x)

    with pytest.raises(UserError, match="adds 1 channels to 2; channels of such a shortcut cannot be followed"):
        structure_of(Widening())
