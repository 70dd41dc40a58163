"""One network that holds the weights of all networks of a space: each takes the first channels and the middle taps.

Networks are built of it by the definition of networks of blocks, with layers that read slices of the shared tensors.
Quantizers are those of LSQ, a learned step for every choice of bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toolchain.search.network import Network
from toolchain.search.passes import Task
from toolchain.search.space import LAYERS, Space
from toolchain.train.blocks import block_layers
from toolchain.train.models import build
from toolchain.train.quantizers import LearnedStep, Levels

_INPUT_BITS = 8
_ACTS = {"inverted": ("expand.act", "act", "out", "sum"), "residual": ("act1", "operand", "act2")}
_NORMS = {"expand.conv": "expand.bn", "conv": "bn1", "project": "bn2", "conv1": "bn1", "conv2": "bn2"}
_SIGNED = ("out", "sum", "operand")


class SharedWeights(nn.Module):
    """The tensors of the largest network of ``space`` in every direction, by their names in the space."""

    def __init__(self, space: Space, task: Task) -> None:
        super().__init__()
        self.tensors, self.steps = nn.ParameterDict(), nn.ModuleDict()
        for slot, shape in _shapes(space, task).items():
            weight = torch.empty(shape)
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
            self.tensors[_key(slot)] = nn.Parameter(weight)
            for bits in space.bits.weights:
                self.steps[_key(slot, bits)] = LearnedStep(Levels.weight(bits), (), False, True, initial=weight)
        self.tensors["fc_bias"] = nn.Parameter(torch.zeros(task.classes))
        for slot, norm in _norms(space).items():
            channels = len(self.tensors[_key(slot)])
            self.tensors[_key(f"{norm}.weight")] = nn.Parameter(torch.ones(channels))
            self.tensors[_key(f"{norm}.bias")] = nn.Parameter(torch.zeros(channels))
        for name, signed in _acts(space):
            for bits in space.bits.activations:
                levels = Levels.activation(bits, signed=signed)
                self.steps[_key(name, bits)] = LearnedStep(levels, (), False, False)
        if space.data.normalize == "standard" and space.data.input is None:
            levels = Levels.activation(_INPUT_BITS, signed=True)
            self.steps["input"] = LearnedStep(levels, (), False, False)

    def network(self, network: Network, shape: tuple[int, ...], classes: int) -> nn.Module:
        """``network`` on the shared tensors, which its layers hold slices of; batch norms take the batch's statistics.

        Args:
            shape: (C, H, W) of its input.
            classes: its outputs.
        """
        make = _SliceMaker(self, network)
        layers = block_layers(make, shape, classes, network.blocks)
        if "input" in self.steps:
            layers["input"] = _Quantized(self.steps["input"])
            layers.move_to_end("input", last=False)
        return nn.Sequential(layers)

    def tensor(self, name: str) -> Tensor:
        """A shared tensor."""
        return self.tensors[_key(name)]

    def step(self, name: str, bits: int) -> LearnedStep:
        """The quantizer of weights or activations in so many bits."""
        found = self.steps[_key(name, bits)]
        assert isinstance(found, LearnedStep)
        return found

    def alone(self, network: Network, space: Space, shape: tuple[int, ...], classes: int) -> nn.Module:
        """``network`` as its run file builds it, with its own copies of the shared tensors, in training mode.

        Its batch norms have no statistics yet.
        """
        model = build(network.run(space, network.key), shape, classes)
        make = _SliceMaker(self, network)
        with torch.no_grad():
            for name, parameter in list(model.named_parameters()):
                owner, _, kind = name.rpartition(".")
                if owner in network.bits:
                    source = self.tensor("fc_bias") if kind == "bias" else self.weight(network, owner, parameter.shape)
                    parameter.copy_(source)
                elif "bn" in owner.rpartition(".")[2] and "tensor_quant" not in name:
                    parameter.copy_(self.tensor(f"{make.place(owner)}.{kind}")[: len(parameter)])
            for name, module in model.named_modules():
                if isinstance(module, LearnedStep):
                    module.set_step(self._step_of(network, make, name, module).step)
                    module.ready.fill_(True)
        return model

    def weight(self, network: Network, layer: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """The part of a layer's shared weights that has ``shape``."""
        return _slice(self.tensor(network.slots[layer]), shape)

    def _step_of(self, network: Network, make: _SliceMaker, name: str, own: LearnedStep) -> LearnedStep:
        if name.startswith("input."):
            found = self.steps["input"]
            assert isinstance(found, LearnedStep)
            return found
        owner = name.split(".act_quant.")[0].split(".weight_quant.")[0]
        if owner in network.bits:
            return self.step(network.slots[owner], network.bits[owner])
        return self.step(make.act(owner, signed=own.levels.signed), network.act_bits)


def _key(name: str, bits: int | None = None) -> str:
    text = name.replace(".", "_")
    return text if bits is None else f"{text}_b{bits}"


def _shapes(space: Space, task: Task) -> dict[str, tuple[int, ...]]:
    """The largest shape of every layer's weights, by its name in the space."""
    found: dict[str, tuple[int, ...]] = {"conv1": (max(space.stem), task.channels, 3, 3)}
    inputs = max(space.stem)
    for s, stage in enumerate(space.stage, 1):
        outputs, k = max(stage.channels), max(stage.kernel)
        for b in range(1, max(stage.depth) + 1):
            inner, name = inputs * max(stage.expansion), f"stage{s}.{b}"
            if stage.kind == "inverted":
                if max(stage.expansion) > 1:
                    found[f"{name}.expand.conv"] = (inner, inputs, 1, 1)
                found |= {f"{name}.conv": (inner, 1, k, k), f"{name}.project": (outputs, inner, 1, 1)}
            else:
                found |= {f"{name}.conv1": (outputs, inputs, k, k), f"{name}.conv2": (outputs, outputs, k, k)}
                found[f"{name}.shortcut.conv"] = (outputs, inputs, 1, 1)
            inputs = outputs
    if max(space.head):
        found["conv2"] = (max(space.head), inputs, 1, 1)
    found["fc"] = (task.classes, max(inputs, *space.head))
    return found


def _norms(space: Space) -> dict[str, str]:
    """The batch norm behind every layer, both by their names in the space."""
    found = {"conv1": "bn1", "conv2": "bn2"} if max(space.head) else {"conv1": "bn1"}
    for s, stage in enumerate(space.stage, 1):
        for b in range(1, max(stage.depth) + 1):
            for layer in LAYERS[stage.kind]:
                if layer == "expand.conv" and max(stage.expansion) == 1:
                    continue
                norm = "shortcut.bn" if layer == "shortcut.conv" else _NORMS[layer]
                found[f"stage{s}.{b}.{layer}"] = f"stage{s}.{b}.{norm}"
    return found


def _acts(space: Space) -> Iterator[tuple[str, bool]]:
    """The quantizers of activations by their names in the space, and whether they are signed."""
    yield from (("act1", False), ("act2", False), ("mean", False), ("mean_signed", True))
    for s, stage in enumerate(space.stage, 1):
        for b in range(1, max(stage.depth) + 1):
            yield from ((f"stage{s}.{b}.{act}", act in _SIGNED) for act in _ACTS[stage.kind])


def _slice(weight: Tensor, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The first outputs and inputs and the middle taps of ``weight``, as many as ``shape`` has."""
    part = weight[: shape[0], : shape[1]]
    if len(shape) == 4:
        cut = (weight.shape[2] - shape[2]) // 2
        part = part[:, :, cut : cut + shape[2], cut : cut + shape[3]]
    return part


@dataclass(frozen=True)
class _SliceMaker:
    """Makes layers of ``network`` that read slices of ``shared``."""

    shared: SharedWeights
    network: Network

    def place(self, name: str) -> str:
        """A layer's name in the space."""
        block, dot, rest = name.partition(".")
        if not dot:
            return name
        stage, number = self.network.places[int(block.removeprefix("block")) - 1]
        return f"stage{stage}.{number}.{rest}"

    def act(self, name: str, *, signed: bool) -> str:
        """Return the name in the space of a quantizer of activations."""
        return "mean_signed" if name == "mean" and signed else self.place(name)

    def conv(
        self, name: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> nn.Module:
        return _Conv(self, name, (outputs, inputs // groups, kernel, kernel), stride, padding, groups)

    def linear(self, name: str, inputs: int, outputs: int, *, bias: bool = False) -> nn.Module:
        return _Linear(self, name, (outputs, inputs))

    def norm(self, name: str, channels: int) -> nn.Module:
        place = self.place(name)
        return _Norm(*(self.shared.tensor(f"{place}.{kind}")[:channels] for kind in ("weight", "bias")))

    def relu(self, name: str, *, added: bool = False) -> nn.Module:
        return _Quantized(self.shared.step(self.act(name, signed=False), self.network.act_bits))

    def signed(self, name: str, least: int = 0) -> nn.Module:
        return _Quantized(self.shared.step(self.act(name, signed=True), self.network.act_bits))

    def weight(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The quantized weights of a layer."""
        step = self.shared.step(self.network.slots[name], self.network.bits[name])
        return step.quantize(self.shared.weight(self.network, name, shape))[0]


class _Conv(nn.Module):
    def __init__(
        self, make: _SliceMaker, name: str, shape: tuple[int, ...], stride: int, padding: int, groups: int
    ) -> None:
        super().__init__()
        self.make, self.name, self.shape = make, name, shape
        self.window = (stride, padding, 1, groups)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.make.weight(self.name, self.shape), None, *self.window)


class _Linear(nn.Module):
    def __init__(self, make: _SliceMaker, name: str, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.make, self.name, self.shape = make, name, shape

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.make.weight(self.name, self.shape), self.make.shared.tensor("fc_bias"))


class _Norm(nn.Module):
    """Normalizes by the batch's statistics."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.slices = (weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.batch_norm(x, None, None, *self.slices, training=True)


class _Quantized(nn.Module):
    """A shared quantizer, which is not a part of the network."""

    def __init__(self, quantizer: nn.Module) -> None:
        super().__init__()
        self.quantizer = (quantizer,)

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer[0](x)[0]  # type: ignore[no-any-return]


def noise_table(shared: SharedWeights, space: Space) -> Mapping[tuple[str, int], float]:
    """Return by (layer, bits) the noise of the shared weights: the summed squares of their errors over those of all."""
    found = {}
    with torch.no_grad():
        for slot in (name.removeprefix("bits.") for name in space.axes if name.startswith("bits.")):
            if _key(slot) not in shared.tensors:  # an expansion that no network has
                continue
            weight = shared.tensor(slot)
            for bits in space.bits.weights:
                error = weight - shared.step(slot, bits).quantize(weight)[0]
                found[slot, bits] = float(error.square().sum() / weight.square().sum())
    return found
