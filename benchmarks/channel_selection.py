"""Channels of ResNet-20 selected by integer programming under a MAC budget and under a budget of cycles."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.common import Row
from toolchain.config.pruning import QcqpConfig
from toolchain.config.run import RunConfig, parse_config
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.flow.stages import lower
from toolchain.ir.graph import Graph
from toolchain.ir.ops.maps import Reshape
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Parallelism, Value
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.pipeline import to_hardware
from toolchain.plan import Lanes, Plan
from toolchain.simulate.cycles import steady_interval
from toolchain.train.budgets import shrink
from toolchain.train.data import Dataset, input_map, load
from toolchain.train.methods.layer_bits import layer_bits
from toolchain.train.methods.qcqp import channel_program
from toolchain.train.models import build
from toolchain.train.selection.program import ChannelProgram, Choice
from toolchain.train.selection.solve import solve
from toolchain.train.shrink import Layer, structure_of
from toolchain.train.statistics import macs
from toolchain.units.lanes import divisors
from toolchain.units.table import schedule

CONFIG = {"name": "selection", "data": {"name": "cifar10"}, "model": {"name": "resnet20"}}
FOLDING_CYCLES = 131_072  # the fixed folding: as few lanes as keep every layer of the whole network within these
GATE_IMAGES = 4
OLD: dict[str, Any] = {"least": 1, "scope": "all", "importance": "weights"}  # as the rows were measured: random weights
Solver = Literal["highs", "cpsat"]


@dataclass(frozen=True)
class Selection:
    """``kind`` "macs": ``budget`` is a share; "cycles": a count a frame."""

    kind: Literal["macs", "cycles"]
    budget: float
    solver: Solver
    seconds: float

    @property
    def key(self) -> Row:
        """The columns that identify the row."""
        return {
            "data": "cifar10", "model": "resnet20", "method": f"qcqp, {self.solver} {self.seconds:g} s",
            "budget": self.budget, "budget_kind": self.kind, "seed": 0, "epochs": 0, "bits": "4/4",
        }  # fmt: skip


def selections(seconds: float) -> Iterator[Selection]:
    """Half of the MACs and of the cycles with both solvers; 30 % and a quarter with HiGHS."""
    for solver in ("highs", "cpsat"):
        yield Selection("macs", 0.5, solver, seconds)
        yield Selection("cycles", FOLDING_CYCLES // 2, solver, seconds)
    yield Selection("macs", 0.3, "highs", seconds)
    yield Selection("cycles", FOLDING_CYCLES // 4, "highs", seconds)


def row(selection: Selection) -> Row:
    """Select, shrink and, of HiGHS' choices, simulate the cycles of the exported network with the same lanes.

    Under a budget of MACs the lanes that no longer divide their channels are fewer, so that nothing is predicted.
    """
    config, data = parse_config(CONFIG, where="benchmark"), load("cifar10")
    network = _network(config, data)
    structure = structure_of(network, data.shape)
    counts, bits = structure.counts, layer_bits(network, config.quant, data.pixel_levels.bit_length())
    lanes = {layer.name: _lanes(layer, counts) for layer in structure.layers}
    budget: dict[str, Any] = {selection.kind: selection.budget if selection.kind == "macs" else int(selection.budget)}
    program = channel_program(network, structure, QcqpConfig(lanes=lanes, **OLD, **budget), bits)
    folding = channel_program(network, structure, QcqpConfig(lanes=lanes, **OLD, cycles=1), bits)
    greedy, whole = program.objective(program.greedy()), program.objective({})
    choice = solve(program, selection.seconds, selection.solver)
    kept = {name: len(indices) for name, indices in choice.kept.items()}
    shrink(network, structure, choice.kept)
    left = macs(network.eval(), data.shape)
    return {
        "weights": "random, LSQ's initial scales",
        "kept_macs": left, "kept_share": round(left / structure.macs(counts), 6),
        "used": _used(program, kept), "bound_of_budget": program.limits[0].bound,
        **_quality(choice, greedy, whole),
        "dense_cycles_predicted": _used(folding, {}),
        "cycles_predicted": _used(folding, kept) if selection.kind == "cycles" else None,
        **(_measured(network, data) if selection.solver == "highs" else {}),
        "channels": " ".join(f"{name}:{count}" for name, count in kept.items()),
    }  # fmt: skip


def _measured(pruned: nn.Module, data: Dataset) -> Row:
    """Cycles a frame by the cycle simulator, of the whole network and of the pruned one with its lanes."""
    plan, before = _dense()
    graph = _lowered(pruned, data)
    return {"dense_cycles": before, "cycles": steady_interval(to_hardware(graph, _plan(graph, plan)))}


@cache
def _dense() -> tuple[Plan, int]:
    data = load("cifar10")
    graph = _lowered(_network(parse_config(CONFIG, where="benchmark"), data), data)
    plan = _plan(graph, None)
    return plan, steady_interval(to_hardware(graph, plan))


def _quality(choice: Choice, greedy: float, whole: float) -> Row:
    return {
        "objective": round(choice.objective, 4), "greedy_objective": round(greedy, 4),
        "whole_objective": round(whole, 4), "bound": round(choice.bound, 4), "gap": round(choice.gap, 5),
        "seconds": round(choice.seconds, 1),
    }  # fmt: skip


def _used(program: ChannelProgram, kept: dict[str, int]) -> int:
    return max(program.used(program.limits[0], kept))


def _network(config: RunConfig, data: Dataset) -> nn.Module:
    """Build the network, with the scales that a first training batch gives its quantizers."""
    torch.manual_seed(0)
    network = build(config, data.shape, data.classes)
    with torch.no_grad():
        network.train()(torch.from_numpy(input_map(data, config.data.normalize).apply(data.train_x[:64])))
    return network.eval()


def _lowered(network: nn.Module, data: Dataset) -> Graph:
    pixels = input_map(data, "unit")
    images = torch.from_numpy(pixels.apply(data.test_x[:GATE_IMAGES]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_qonnx(network, images, path, input_metadata(pixels, data.name))
        return insert_forks(lower(path, Path(folder) / "build").network.graph)


def _lanes(layer: Layer, counts: dict[str, int]) -> tuple[int, int]:
    """Return all taps of one input channel a cycle, and the fewest outputs that keep within `FOLDING_CYCLES`."""
    return layer.area, _fewest(layer.macs(counts) // layer.area, counts[layer.writes])


def _fewest(turns: int, outputs: int) -> int:
    return next(pe for pe in divisors(outputs) if turns // pe <= FOLDING_CYCLES)


def _plan(graph: Graph, fixed: Plan | None) -> Plan:
    """The folding of `_lanes` for a graph, or ``fixed`` with fewer outputs a cycle where they do not divide."""
    values, nodes = graph.values(), {}
    delivered: dict[str, int] = {}
    for node in graph.nodes:
        x = values[node.inputs[0]]
        simd = delivered.get(x.name, 1)
        unit = _unit(node, x, simd, None if fixed is None else fixed.nodes.get(node.name))
        delivered |= {value.name: unit.lanes_out for value in node.outputs if isinstance(node, Window)}
        if not isinstance(node, Reshape):
            nodes[node.name] = Lanes(lanes_in=unit.lanes_in, lanes_out=unit.lanes_out,
                                     products_per_dsp=unit.products_per_dsp)  # fmt: skip
    return Plan(board="zu3eg", clock_mhz=250.0, input_lanes=1, output_lanes=1, nodes=nodes)


def _unit(node: Node, x: Value, simd: int, fixed: Lanes | None) -> Parallelism:
    if isinstance(node, Window):
        return Parallelism(1, node.taps)
    if not isinstance(node, MatVec):
        return Parallelism(simd, 1)
    outputs = node.weight.shape[0]
    if fixed is None:
        return Parallelism(simd, _fewest(schedule(node, x, Parallelism(simd, 1, 0)).cycles, outputs), 0)
    return Parallelism(simd, max(pe for pe in divisors(outputs) if pe <= fixed.lanes_out), 0)
