"""Optimal channel selection with a discrete QCQP (Jeong et al., AISTATS 2022), in one shot when the stage begins.

Objective and constraints are those of the authors' code. Their produced and consumed channels are one set here, also
where a skip ends: an adder of the accelerator has as many channels on either side. HiGHS and a linear form stand for
CPLEX. Cycles and LUTs of a fixed folding come from the explorer's own model.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from toolchain.config import QuantConfig
from toolchain.dse.channel_program import ChannelProgram, Cost, Limit, Weights
from toolchain.dse.cost import unit_cost
from toolchain.dse.cycles import cycles
from toolchain.errors import unknown_name
from toolchain.ir.ops import MatVec
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.pruning import QcqpConfig
from toolchain.train.budgets import shrink
from toolchain.train.methods.base import Context, Method
from toolchain.train.shrink import Layer, Structure, structure_of
from toolchain.train.structure import Edit

log = logging.getLogger(__name__)

_ACCUMULATOR = QInt(24, True)  # of the units whose LUTs are counted; the trained weights decide later


class Qcqp(Method):
    """Keeps the channels between which the most weight lies, by each layer's normalised absolute sums."""

    def __init__(self, config: QcqpConfig) -> None:
        super().__init__()
        self.config = config

    def restructure(self, model: nn.Module, context: Context) -> list[Edit]:
        """Select and remove."""
        structure = structure_of(model, context.data.shape)
        choice = channel_program(model, structure, self.config, context.config.quant).solve(self.config.seconds)
        log.info("objective %.6g, gap %.3g, %.1f s", choice.objective, choice.gap, choice.seconds)
        return shrink(model, structure, choice.kept)


def channel_program(model: nn.Module, structure: Structure, config: QcqpConfig, quant: QuantConfig) -> ChannelProgram:
    """The selection problem of a network.

    Raises:
        UserError: lanes for a layer that the network has not.
    """
    for name in config.lanes:
        if name not in [layer.name for layer in structure.layers]:
            raise unknown_name("layer in lanes", name, [layer.name for layer in structure.layers])
    layers = [Weights(x.name, x.reads, x.writes, importance(model, structure, x)) for x in structure.layers]
    limits = [
        Limit(kind, {x.name: _size(x, kind) for x in structure.layers}, int(share * getattr(structure, kind)(full)))
        for full in [structure.counts]
        for kind, share in (("macs", config.macs), ("params", config.params))
        if share is not None
    ]
    for kind, bound in (("cycles", config.cycles), ("lut", config.lut)):
        if bound is not None:
            costs = {x.name: unit_costs(x, kind, config.lanes.get(x.name, (1, 1)), quant) for x in structure.layers}
            limits.append(Limit(kind, costs, bound, each=kind == "cycles"))
    return ChannelProgram(layers, structure.counts, [group.name for group in structure.free], limits)


@torch.no_grad()
def importance(model: nn.Module, structure: Structure, layer: Layer) -> NDArray[np.float64]:
    """|weights| of a layer summed for each pair of channels (written, read), over the matrix's Frobenius norm."""
    weight = model.get_submodule(layer.name).weight
    assert isinstance(weight, Tensor)
    columns = 1 if layer.reads is None else structure.groups[layer.reads].size // layer.groups
    sums = weight.detach().abs().double().reshape(len(weight), columns, -1).sum(2)
    if layer.groups > 1:  # of fixed channels: what they read does not matter
        sums = torch.nn.functional.pad(sums, (0, columns * (layer.groups - 1)))
    matrix: NDArray[np.float64] = (sums / sums.norm().clamp_min(1e-30)).cpu().numpy()
    return matrix


def unit_costs(layer: Layer, kind: str, lanes: tuple[int, int], quant: QuantConfig) -> Cost:
    """Cycles a frame or LUTs of a layer's matrix-vector unit, of (channels read, channels written), lanes fixed.

    Channels that do not fill the lanes count as if they did.
    """
    simd, pe = lanes

    def cost(reads: int, writes: int) -> int:
        inputs, outputs = -(-reads // simd) * simd * layer.area, -(-writes // pe) * pe
        x = Value("x", (layer.positions, 1, inputs), QInt(quant.act_bits, False))
        y = Value("y", (layer.positions, 1, outputs), _ACCUMULATOR)
        weight_type = QInt(max(2, quant.weight_bits), True)
        weight = np.zeros((outputs, inputs), dtype=np.int64)
        node = MatVec(name=layer.name, inputs=("x",), outputs=(y,), weight=weight, weight_type=weight_type)
        unit = Parallelism(simd, pe, 0)
        return cycles(node, x, unit) if kind == "cycles" else unit_cost(node, x, unit).lut

    return cost


def _size(layer: Layer, kind: str) -> Cost:
    def cost(reads: int, writes: int) -> int:
        counts: Mapping[str, int] = {layer.writes: writes} | ({} if layer.reads is None else {layer.reads: reads})
        return int(getattr(layer, kind)(counts))

    return cost
