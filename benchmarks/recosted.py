"""Other tools' choices layer by layer, as recorded from their own runs, built from this project's units and costed.

FPGAFLOW_DATA/baselines.json holds the tables. A layer is matched to the matrix-vector unit with its
multiply-accumulates (FINN also gives the matrix's size) and gets as many products a cycle as the tool gave it, in LUTs
or DSP slices as there; columns in parallel, which these units do not have, become outputs in parallel. Everything else
takes the cheapest lanes that keep up with the tool's own slowest layer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Row, costs
from benchmarks.peers import built
from toolchain.boards import Board
from toolchain.dse.expand import expand
from toolchain.dse.problem import Decision, Option
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.passes.pipeline import hardware_form
from toolchain.resources import Resources
from toolchain.units.totals import graph_cycles

_FINN = "default (HLS MVAU), mvau_wwidth_max=36 (default)"
_WIDE = "mvau_wwidth_max=10000"
_FINN_WIDE = f"default (HLS MVAU), {_WIDE}"
_CNV, _LENET = "CNV_2W2A (Brevitas bnn_pynq, random weights)", "LeNet-5-like W4A4 (Brevitas, random)"
_FINN_RTL_WIDE = f"standalone_thresholds=True (RTL MVAU where allowed), {_WIDE}"
TABLES = {
    "resnet8_a8w8b16": [
        "nn2fpga|resnet8_a8w8b16|as is|ZU3EGfix",
        f"finn|resnet8_a8w8b16 (bias folded, fork repaired)|{_FINN}|bestfit",
    ],
    "resnet20_w8a8": ["nn2fpga|resnet20_a8w8b16|patched: Quant domain rename|ZU3EGfix"],
    "cnv_w2a2": [f"finn|{_CNV}|{_FINN}|bestfit", f"finn|{_CNV}|{_FINN_WIDE}|bestfit"],
    "kws_w3a3_mlperf_tiny_v0.7": [f"finn|kws_w3a3_qonnx|{_FINN}|bestfit"],
    "TFC_2W2A": [f"finn|TFC_2W2A|{_FINN}|bestfit", f"finn|TFC_2W2A|{_FINN_RTL_WIDE}|bestfit"],
    "lenet5_w4a4": [f"finn|{_LENET}|{_FINN}|bestfit", f"finn|{_LENET}|{_FINN_RTL_WIDE}|bestfit"],
}


@dataclass(frozen=True)
class Layer:
    """A matrix-vector layer of a table: its size, products a cycle, and whether it multiplies in DSP slices."""

    macs: int
    shape: tuple[int, int] | None  # outputs, inputs of the matrix
    products: int
    dsp: bool


def layers(table: list[dict[str, Any]]) -> list[Layer]:
    """The matrix-vector layers of a recorded table, in its order."""
    found = []
    for row in table:
        if row["op"].startswith("MVAU"):
            products = row["PE"] * row["SIMD"]
            shape = (row["MH"], row["MW"])
            found.append(Layer(row["cycles"] * products, shape, products, row["op"] == "MVAU_rtl"))
        elif row["op"] == "StreamingConv":
            unrolls = ("out_channel", "in_channel", "width", "filter_width", "filter_height")
            products = 1
            for name in unrolls:
                products *= row[f"{name}_unroll"]
            found.append(Layer(row["latency"] * products, None, products, True))
    return found


def recosted(name: str, graph: Graph, board: Board) -> Iterator[Row]:
    """One row for each recorded table of network ``name``."""
    path = Path(os.environ["FPGAFLOW_DATA"]) / "baselines.json"
    tables = json.loads(path.read_text(encoding="utf-8"))["layer_tables"]
    for key in TABLES.get(name, ()):
        table = tables[key]
        slowest = max(row.get("cycles") or row.get("latency") or 0 for row in table)
        hardware, used = rebuilt(graph, layers(table), slowest)
        cycles = graph_cycles(hardware)
        yield {
            "kind": "recosted",
            "network": name,
            "tool": _title(key),
            "their_cycles": slowest,
            "cycles": cycles,
            "fps": round(250e6 / cycles, 1),
            **costs(used),
            "fits": used.fits(board.budget),
        }


def rebuilt(graph: Graph, wanted: list[Layer], slowest: int) -> tuple[Graph, Resources]:
    """``graph`` with the recorded products a cycle on its matrix-vector units.

    Raises:
        ValueError: a recorded layer has no counterpart.
    """
    forked = hardware_form(graph)
    matched = _match(forked, wanted)
    decisions = expand(forked, plain=True).decisions
    return built(graph, forked, [_choose(decision, matched, slowest) for decision in decisions])


def _match(graph: Graph, wanted: list[Layer]) -> dict[str, Layer]:
    """The recorded layer of each matrix-vector unit; the first left of those with its size."""
    left, found = list(wanted), {}
    for node in graph.nodes:
        if not isinstance(node, MatVec):
            continue
        height, width, _ = node.output.shape
        macs = height * width * node.weight.size
        layer = next((w for w in left if w.macs == macs and w.shape in (None, node.weight.shape)), None)
        if layer is None:
            raise ValueError(f"no recorded layer for '{node.name}' with {macs} multiply-accumulates")
        left.remove(layer)
        found[node.name] = layer
    return found


def _choose(decision: Decision, matched: dict[str, Layer], slowest: int) -> Option:
    """The cheapest option with the recorded products a cycle, or the nearest above; else the cheapest fast enough."""
    layer = next((matched[name] for name in decision.options[0].lanes if name in matched), None)
    if layer is None:
        fast = [o for o in decision.options if o.cycles <= slowest] or [min(decision.options, key=lambda o: o.cycles)]
        return min(fast, key=lambda o: (o.resources.lut, o.resources.bram18))
    name = next(name for name in decision.options[0].lanes if name in matched)

    def products(option: Option) -> int:
        return option.lanes[name].lanes_in * option.lanes[name].lanes_out

    def fabric(option: Option) -> bool:
        return bool(option.lanes[name].products_per_dsp) == layer.dsp

    enough = [o for o in decision.options if products(o) >= layer.products]
    least = min(map(products, enough))
    same = [o for o in enough if products(o) == least]
    as_there = list(filter(fabric, same)) or same
    # products are packed where they can be
    return min(as_there, key=lambda o: (-(o.lanes[name].products_per_dsp or 0), o.resources.lut))


def _title(key: str) -> str:
    tool, _, setting, *_ = key.split("|")
    if tool == "nn2fpga":
        return "NN2FPGA"
    return {_FINN: "FINN", _FINN_WIDE: "FINN, word limit raised"}.get(setting, "FINN, RTL units, word limit raised")
