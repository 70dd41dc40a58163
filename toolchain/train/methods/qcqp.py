"""Optimal channel selection with a discrete QCQP (Jeong et al., AISTATS 2022), in one shot when the stage begins.

Objective, constraints and scope, the convolutions, are those of the authors' code. Their produced and consumed channels
are one set here, also where a skip ends: an adder of the accelerator has as many channels on either side. What that
takes of the paper's freedom, ``blocks`` gives back in whole: a branch beside a skip may go. HiGHS and a linear form
stand for CPLEX. Behind a batch norm |weights| are times its factor: without, their scale is arbitrary.
Cycles and resources of a fixed folding come from the explorer's own model.

Source: the authors' code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolchain import resources
from toolchain.config.pruning import FOLDED, QcqpConfig
from toolchain.errors import unknown_name
from toolchain.ir.input_types import parse_input
from toolchain.ir.ops.products import MatVec
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.train.blocks import Residual
from toolchain.train.budgets import Budget, Size, demand_free, shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.methods.layer_bits import LayerBits, layer_bits
from toolchain.train.methods.positions import keep_positions
from toolchain.train.own.kinds import Convolution, Norm
from toolchain.train.selection.program import ChannelProgram, Cost, Limit, Weights
from toolchain.train.selection.solve import solve
from toolchain.train.shrink import Layer, Structure, structure_of
from toolchain.train.structure import Branch, Edit
from toolchain.units.table import schedule, unit_cost

log = logging.getLogger(__name__)

_ACCUMULATOR = QInt(24, True)  # assumed in units whose LUTs are counted; the trained weights decide later


class Qcqp(Method):
    """Keeps the channels between which the most weight lies, by each layer's normalised absolute sums."""

    def __init__(self, config: QcqpConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def channels(self) -> QcqpConfig:
        """The budgets of the selection of channels; where positions go besides, it leaves room for them."""
        params, config = self.config.params, self.config
        if config.granularity == "channel" or params is None:
            return config
        return config.model_copy(update={"params": min(1.0, params / config.gamma)})

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size:
        """Check that the fewest channels a group meet the budgets."""
        config, structure = self.channels, structure_of(model, context.data.shape)
        demand_free(structure)
        channel_program(model, structure, config, _bits(model, context), left).check()
        return Budget.share_of(left, config).within(left)

    def restructure(self, model: nn.Module, context: Context) -> list[Edit]:
        """Select channels by the program and remove the others."""
        structure = structure_of(model, context.data.shape)
        choice = solve(
            channel_program(model, structure, self.channels, _bits(model, context)),
            self.config.seconds,
            self.config.solver,
        )
        log.info("objective %.6g, gap %.3g, %.1f s", choice.objective, choice.gap, choice.seconds)
        edits: list[Edit] = list(shrink(model, structure, {name: kept for name, kept in choice.kept.items() if kept}))
        for inner, block in branches(model, structure).items():
            if choice.kept.get(inner) == []:
                edits.append(Branch(block))
                edits[-1].apply(model, context.make)
                log.info("the branch of '%s' goes as a whole", block)
        if self.config.granularity == "position":
            params = Budget.share_of(Size.of(structure), self.config).params
            assert params is not None
            edits += keep_positions(model, params, self.config.seconds)
        return edits


def _bits(model: nn.Module, context: Context) -> dict[str, LayerBits]:
    given, levels = context.config.data.input, context.data.pixel_levels
    inputs = parse_input(given).type.bits if given is not None else max(1, levels.bit_length())
    return layer_bits(model, context.config.quant, inputs)


def channel_program(
    model: nn.Module,
    structure: Structure,
    config: QcqpConfig,
    bits: Mapping[str, LayerBits],
    whole: Size | None = None,
) -> ChannelProgram:
    """The selection problem of a network.

    Args:
        model, structure, config: the network, its channels, and the budgets.
        bits: of its layers.
        whole: what shares are of; the network by default.

    Raises:
        UserError: lanes, turns or products for a layer that the network has not.
    """
    names = [layer.name for layer in structure.layers]
    for key in ("lanes", "turns", "products_per_dsp"):
        for name in getattr(config, key):
            if name not in names:
                raise unknown_name(f"layer in {key}", name, names)
    counted = counted_layers(model, structure, config)
    layers = [
        Weights(x.name, x.reads, x.writes, importance(model, structure, x, config) * (x.name in counted))
        for x in structure.layers
    ]
    kept_whole = {x.writes for x in structure.layers if x.name not in counted}
    budget = Budget.share_of(whole or Size.of(structure), config)
    bounds = budget.limits | {kind: getattr(config, kind) for kind in FOLDED if getattr(config, kind) is not None}

    def costs(kind: str) -> dict[str, Cost]:
        return {x.name: cost_of(x, kind, config, bits[x.name]) for x in structure.layers}

    limits = [Limit(kind, costs(kind), bound, each=kind == "cycles") for kind, bound in bounds.items()]
    if config.memory is not None:
        each, full = costs("memory"), structure.counts
        total = sum(each[x.name](1 if x.reads is None else full[x.reads], full[x.writes]) for x in structure.layers)
        limits.append(Limit("bits of memory", each, resources.whole(config.memory * total)))
    free = [group.name for group in structure.free if group.name not in kept_whole]
    hint = "raise the budget" if len(counted) == len(layers) else 'raise the budget, or set qcqp.scope = "all"'
    optional = frozenset(branches(model, structure)) & frozenset(free) if config.blocks else frozenset()
    return ChannelProgram(layers, structure.counts, free, limits, config.least, config.multiple, hint, optional)


def branches(model: nn.Module, structure: Structure) -> dict[str, str]:
    """Residual blocks by the group of channels inside of their branch, which goes when the group does."""
    writes = {layer.name: layer.writes for layer in structure.layers}
    blocks = [name for name, part in model.named_modules() if isinstance(part, Residual) and part.has_branch]
    return {writes[f"{name}.conv1"]: name for name in blocks}


def counted_layers(model: nn.Module, structure: Structure, config: QcqpConfig) -> set[str]:
    """The layers whose weights the objective counts and whose channels may go: convolutions, where there are any."""
    convolutions = {x.name for x in structure.layers if isinstance(model.get_submodule(x.name), Convolution)}
    return convolutions if convolutions and config.scope == "convolutions" else {x.name for x in structure.layers}


def cost_of(layer: Layer, kind: str, config: QcqpConfig, bits: LayerBits) -> Cost:
    """Return a layer's cost in a budget as a function of (channels read, channels written)."""
    if kind in FOLDED:
        return unit_costs(layer, kind, config, bits)

    def cost(reads: int, writes: int) -> int:
        counts: Mapping[str, int] = {layer.writes: writes} | ({} if layer.reads is None else {layer.reads: reads})
        if kind == "memory":
            written = layer.positions * writes * bits.writes
            return int(layer.area * layer.pairs(counts)) * bits.weights + written
        return int(getattr(layer, kind)(counts))

    return cost


@torch.no_grad()
def importance(model: nn.Module, structure: Structure, layer: Layer, config: QcqpConfig) -> NDArray[np.float64]:
    """|weights| of a layer summed for each pair of channels (written, read), over the matrix's Frobenius norm.

    "folded" weights are times |gamma / sigma| of the batch norm behind them.
    """
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    columns = 1 if layer.reads is None else structure.groups[layer.reads].size // layer.groups
    sums = weight.detach().abs().double().reshape(len(weight), columns, -1).sum(2)
    if layer.norm is not None and config.importance == "folded":
        norm = model.get_submodule(layer.norm)
        assert isinstance(norm, Norm) and norm.running_var is not None
        sums *= (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).abs()[:, None]
    if layer.groups > 1:  # its channels are fixed: the count that it reads does not matter
        sums = torch.nn.functional.pad(sums, (0, columns * (layer.groups - 1)))
    matrix: NDArray[np.float64] = (sums / sums.norm().clamp_min(1e-30)).cpu().numpy()
    return matrix


def unit_costs(layer: Layer, kind: str, config: QcqpConfig, bits: LayerBits) -> Cost:
    """Cycles a frame or a resource of a layer's matrix-vector unit, of (channels read, channels written).

    With fixed lanes fewer channels take fewer cycles, with fixed turns fewer lanes. Channels that do not fill the last
    turn count as if they did.
    """
    packing = config.products_per_dsp.get(layer.name, 0)

    def cost(reads: int, writes: int) -> int:
        if layer.name in config.turns:
            turns_in, turns_out = config.turns[layer.name]
            simd, pe = -(-reads * layer.area // turns_in), -(-writes // turns_out)
            inputs, outputs = simd * turns_in, pe * turns_out
        else:
            simd, pe = config.lanes.get(layer.name, (1, 1))
            together = simd // layer.area if simd % layer.area == 0 else simd  # channels of all taps, or of one
            inputs, outputs = -(-reads // together) * together * layer.area, -(-writes // pe) * pe
        unit = Parallelism(simd, pe, packing)
        x = Value("x", (layer.positions, 1, inputs), QInt(bits.reads, False))
        y = Value("y", (layer.positions, 1, outputs), _ACCUMULATOR)
        weight_type = QInt(max(2, bits.weights), True)
        weight = np.zeros((outputs, inputs), dtype=np.int64)
        node = MatVec(name=layer.name, inputs=("x",), outputs=(y,), weight=weight, weight_type=weight_type)
        return schedule(node, x, unit).cycles if kind == "cycles" else int(getattr(unit_cost(node, x, unit), kind))

    return cost
