"""The best frame rate any design of a network's bit widths could reach on a board: the measure of a plan."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil, log2

from toolchain.boards import Board
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import Depthwise, GroupedMatVec, Product, RowConv
from toolchain.ir.types import QInt, Value
from toolchain.resources import DSP_NARROW, DSP_WIDE
from toolchain.units.adder_graph import adder_graph, in_logic, product_graph
from toolchain.units.fabric_costs import additions, lut_multiplier
from toolchain.units.totals import frame_bytes


@dataclass(frozen=True)
class Bound:
    """Frames per second that no design exceeds, and what sets the limit."""

    fps: float
    limited_by: str


def bound(graph: Graph, board: Board, clock_mhz: float) -> Bound:
    """Multipliers or memory bandwidth, whichever allows fewer frames per second.

    All LUTs and DSP slices of the device multiply in every cycle, packed as tightly as is known; only the network's
    input and outputs move, at the memory's peak. Published designs and this project's units stay below.
    """
    cycles = mac_cycles(graph, board)
    moved = _bytes(graph.input) + sum(map(_bytes, graph.ends))
    compute = clock_mhz * 1e6 / cycles if cycles else float("inf")
    rate = board.bytes_per_second(clock_mhz)
    memory = rate / moved
    if compute <= memory:
        count = sum(macs(graph).values())
        return Bound(compute, f"multipliers: {count / 1e6:.3g} M MAC a frame at {count / cycles:.0f} a cycle")
    return Bound(memory, _memory(moved, rate))


def memory_bound(graph: Graph, board: Board, clock_mhz: float) -> Bound:
    """The frames per second of the HARDWARE ``graph`` that the memory's peak allows."""
    moved, rate = frame_bytes(graph), board.bytes_per_second(clock_mhz)
    return Bound(rate / moved, _memory(moved, rate))


def _memory(moved: int, rate: float) -> str:
    return f"memory: {moved} bytes a frame at {rate / 1e9:.3g} GB/s"


def macs(graph: Graph) -> Counter[tuple[int, int]]:
    """Multiply-accumulates per frame by (weight bits, activation bits); weights of -1 and +1 have one bit."""
    counts: Counter[tuple[int, int]] = Counter()
    values = graph.values()
    for node in graph.nodes:
        if isinstance(node, Product):
            x = values[node.inputs[0]]
            counts[_weight_bits(node), x.qint.bits] += _macs(node)
    return counts


def mac_cycles(graph: Graph, board: Board) -> float:
    """Least cycles for the multiplications of a frame, with the whole device multiplying."""
    device, values = board.device, graph.values()
    cycles = 0.0
    for node in graph.nodes:
        if not isinstance(node, Product):
            continue
        x = values[node.inputs[0]]
        bits = _weight_bits(node), x.qint.bits
        luts = min(luts_per_mac(*bits), _constant_luts(node, x.qint))
        cycles += _macs(node) / (device.dsp * macs_per_dsp(*bits) + device.lut / luts)
    return cycles


def _macs(node: Product) -> int:
    height, width, _ = node.output.shape
    return height * width * int(node.weight.size) // (node.groups if isinstance(node, RowConv) else 1)


def _weight_bits(node: Product) -> int:
    """Weights of -1 and +1 have one bit."""
    return 1 if node.signs else node.weight_type.bits


def _constant_luts(node: Product, act: QInt) -> float:
    """LUTs a product where the weights can be part of the logic; no product takes none of them at all."""
    if isinstance(node, Depthwise) or not in_logic(node.weight, node.digits):
        return float("inf")
    graph = product_graph(node, act) if isinstance(node, GroupedMatVec) else adder_graph(node.filters, act)
    return max(additions(graph, act).lut, 1) / node.weight.size


def macs_per_dsp(weight_bits: int, act_bits: int) -> int:
    """Most products of one DSP48E2: packed operands spaced so that partial sums do not overlap (HiKonv, Liu et al.).

    N weights and K activations at spacing S = w + a + ceil(log2(min(N, K))) fit if w + (N-1)S <= 27, a + (K-1)S <= 18,
    or with the ports exchanged.
    """
    best = 1
    for n in range(1, DSP_WIDE + 1):
        for k in range(1, DSP_NARROW + 1):
            space = weight_bits + act_bits + ceil(log2(min(n, k)))
            for wide, narrow in ((weight_bits, act_bits), (act_bits, weight_bits)):
                if wide + (n - 1) * space <= DSP_WIDE and narrow + (k - 1) * space <= DSP_NARROW:
                    best = max(best, n * k)
    return best


def luts_per_mac(weight_bits: int, act_bits: int) -> float:
    """Fewest LUTs of a multiplier and its share of the adder tree, or of counting the common bits of two bit planes.

    A pair of bits takes 1.17 LUTs in BISMO's compressor trees.
    """
    multiplied = lut_multiplier(weight_bits, act_bits) + weight_bits + act_bits
    return min(1.17 * weight_bits * act_bits, multiplied)


def _bytes(value: Value) -> int:
    return ceil(value.size * value.qint.bits / 8)
