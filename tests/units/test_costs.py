"""Costs of units: golden, near what yosys counts where no published row is, and nothing for what is not built."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.unit_counts import estimate, kind_of, shape_of
from tests.golden_files import assert_golden
from tests.graphs import Builder, conv_net
from tests.grids import GRIDS, units
from tests.hardware import serial
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, QInt, Value
from toolchain.resources import KINDS, Resources, total
from toolchain.units.fabric_costs import STREAM_LUT, banks, delay, fifo, rom
from toolchain.units.table import unit_cost
from toolchain.units.totals import (
    cost,
    frame_bytes,
    frame_cycles,
    graph_cost,
    graph_cycles,
    reader_cost,
    writer_cost,
)

COUNTS = Path(__file__).parents[2] / "benchmarks" / "results" / "unit_counts.json"
MOST_OFF = {"Window, serial": 12, "Window, parallel": 15, "WidthConvert": 12, "Fork": 12, "Slice": 12, "RowConv": 15}


@pytest.fixture(scope="module")
def grid() -> list[tuple[str, Graph, Node]]:
    """The units of the conformance grids by their kinds."""
    found = [pair for grid in GRIDS for pair in units(grid) if not pair[1].renames]
    return [(kind_of(graph, node), graph, node) for graph, node in found]


@pytest.mark.parametrize("kind", MOST_OFF)
def test_estimates_are_within_percents_of_own_counts_in_the_mean(
    kind: str, grid: list[tuple[str, Graph, Node]]
) -> None:
    """The mean error over the counted shapes; where units share a shape, which is all that rows tell, the nearest."""
    rows = [row for row in json.loads(COUNTS.read_text(encoding="utf-8")) if row["kind"] == kind]
    luts = [(shape_of(graph, node), estimate(graph, node).lut) for name, graph, node in grid if name == kind]
    errors = [min(abs(n / row["counted_lut"] - 1) for shape, n in luts if shape == row["shape"]) for row in rows]
    assert len(rows) >= 3 and 100 * sum(errors) / len(errors) <= MOST_OFF[kind]


def test_costs_and_cycles_of_units_are_golden(grid: list[tuple[str, Graph, Node]]) -> None:
    """Of every kind the first and the last unit of each input, which differ in lanes, form or numbers."""
    chosen: dict[str, list[str]] = {}
    for kind, graph, node in grid:
        shape, took = shape_of(graph, node), zip(KINDS, estimate(graph, node), strict=True)
        costs = ", ".join(f"{count} {name}" for name, count in took if count)
        line = f"{kind}: {shape}: {frame_cycles(node, graph)} cycles, {costs}\n"
        chosen.setdefault(f"{kind}: {graph.input}", []).append(line)
    ends = {line for found in chosen.values() for line in (found[0], found[-1])}
    assert_golden("units/costs.txt", "".join(sorted(ends)))


@pytest.mark.parametrize(
    ("size", "channels", "bits", "kernel", "lanes", "counted"),
    [
        ((5, 4), 6, 2, (3, 3), (1, 1), 249),
        ((5, 4), 15, 4, (3, 3), (5, 5), 238),
        ((6, 5), 4, 8, (2, 3), (1, 1), 239),
        ((5, 5), 4, 4, (3, 3), (4, 36), 303),
    ],
)
def test_a_window_takes_the_luts_of_its_counters(
    size: tuple[int, int], channels: int, bits: int, kernel: tuple[int, int], lanes: tuple[int, int], counted: int
) -> None:
    """Within 15 % of a count by yosys of a window of this shape; published rows have no such unit."""
    b = Builder((*size, channels), bits)
    b.window(b.input, kernel)
    assert unit_cost(b.nodes[0], b.input, Parallelism(*lanes)).lut == pytest.approx(counted, rel=0.15)


def test_a_word_that_grows_is_shifted_in_and_one_that_shrinks_is_chosen() -> None:
    value = Value("x", (1, 4, 12), QInt(5, True))
    node = WidthConvert(name="c", inputs=("x",), outputs=(replace(value, name="y"),))
    assert unit_cost(node, value, Parallelism(2, 12)).lut == STREAM_LUT
    assert unit_cost(node, value, Parallelism(12, 2)).lut == STREAM_LUT + 60


def test_thresholds_that_no_input_reaches_take_nothing() -> None:
    b = Builder((1, 1, 4), 3)
    b.threshold(b.input, 2)
    (node,) = b.nodes
    assert isinstance(node, Threshold)
    lanes = Parallelism(1, 1)
    out = replace(node, thresholds=np.tile([-9, 8, 100], (4, 1)))
    within = replace(node, thresholds=np.array([[-9, channel, 100] for channel in range(1, 5)]))
    assert unit_cost(out, b.input, lanes).lut == STREAM_LUT
    assert unit_cost(within, b.input, lanes).lut > STREAM_LUT
    constant = replace(node, thresholds=np.tile([-9, 3, 100], (4, 1)))
    assert unit_cost(constant, b.input, lanes).lut < unit_cost(within, b.input, lanes).lut


def test_a_factor_that_a_lane_never_changes_is_additions() -> None:
    """16 has one digit, which is wiring; 21 has three, two additions; in turns the same factors are a multiplier."""
    b = Builder((1, 1, 2), 8, signed=True)
    b.mulshift(b.input, 4)
    (node,) = b.nodes
    assert isinstance(node, MulShift)

    def luts(factors: tuple[int, int], lanes: int) -> int:
        scaled = replace(node, mul=np.array(factors), add=np.zeros(2, dtype=np.int64), base=np.zeros(2, dtype=np.int64))
        return unit_cost(scaled, b.input, Parallelism(lanes, lanes, 0)).lut

    assert luts((21, 21), 2) - luts((16, 16), 2) == 2 * 2 * 9
    assert luts((21, 19), 1) - STREAM_LUT > (luts((21, 19), 2) - STREAM_LUT) / 2


def test_few_words_have_few_columns() -> None:
    """Three address bits have 256 functions, however many bits are read; sixteen words have more than anyone reads."""
    assert banks(8, 8, 100).lut == 256 < rom(8, 100).lut * 8
    assert banks(8, 16, 100) == rom(16, 100) * 8


def test_short_waits_are_registers_and_longer_ones_shift_registers() -> None:
    assert [(delay(n, 10).lut, delay(n, 10).ff) for n in (0, 1, 2, 3, 16, 17, 33)] == [
        (0, 0), (0, 10), (0, 20), (5, 0), (5, 0), (10, 0), (20, 0)
    ]  # fmt: skip


def test_a_stream_is_registers_shift_registers_lutram_or_block_ram() -> None:
    """36 bits at the ends of what each holds: LUTs, flip-flops, block RAMs."""
    found = {depth: fifo(depth, 36) for depth in (2, 3, 16, 17, 32, 33, 64, 65, 512, 513)}
    assert {depth: (one.lut, one.ff, one.bram18) for depth, one in found.items()} == {
        2: (22, 72, 0), 3: (30, 42, 0), 16: (30, 42, 0), 17: (48, 42, 0), 32: (48, 42, 0), 33: (72, 60, 0),
        64: (76, 64, 0), 65: (28, 64, 1), 512: (40, 76, 1), 513: (40, 76, 2),
    }  # fmt: skip
    assert fifo(8192, 144, ultra=True) == Resources(lut=56, ff=200, uram=4)


def test_a_graph_takes_its_units_their_streams_the_reader_and_the_writer() -> None:
    graph = serial(conv_net(size=4))
    parts = [cost(node, graph) for node in graph.nodes]
    ends = Resources(lut=760, ff=1168, bram18=4), Resources(lut=752, ff=1152, bram18=4)
    assert (reader_cost(graph.input, 1), writer_cost()) == ends
    assert graph_cost(graph) == total((*parts, *ends)) == Resources(lut=3421, ff=4212, dsp=2, bram18=8)
    assert (graph_cycles(graph), frame_bytes(graph)) == (1152, 48)
