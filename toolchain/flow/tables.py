"""Terminal tables of the coverage check, the probe and the explorer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from toolchain.boards import Board
from toolchain.dse.front import Point
from toolchain.flow.coverage import FOLDED, HOST, REFUSED, SUPPORTED, UNKNOWN, Coverage
from toolchain.flow.on_boards import OnBoard
from toolchain.flow.options import Search
from toolchain.flow.probe import Probe
from toolchain.flow.rows import told
from toolchain.ir.graph import Graph
from toolchain.ir.ops.wiring import Fork
from toolchain.plan import Plan
from toolchain.report.fitting import FittingTable
from toolchain.resources import KINDS, Resources
from toolchain.units.totals import cost, frame_cycles, graph_cost, graph_cycles

if TYPE_CHECKING:
    from toolchain.engine.precision import Mixed
    from toolchain.flow.streaming_bits import Point as LaneBits

COLOURS = {SUPPORTED: "green", HOST: "blue", FOLDED: "cyan", REFUSED: "red", UNKNOWN: "yellow"}


def coverage_table(found: Coverage) -> Table:
    """One row a node: its status, why, and what would help."""
    table = Table("node", "operation", "status", "reason", "what helps")
    for node in found.nodes:
        table.add_row(node.name, node.op, Text(node.status, COLOURS[node.status]), node.reason, node.hint)
    for note in found.notes:
        table.add_row("", "", "note", note, "")
    return table


def bits_table(front: Sequence[Mixed], clock_mhz: float) -> Table:
    """One row a point of the front: rate, distance to the bound, loss, the engine's weights, layers of other bits."""
    table = Table("fps", "gap", "loss", "engine", "layers by bits", "layers of other bits than the engine")
    for mixed in front:
        counts = Counter(mixed.bits.values())
        own = mixed.engine.shape.weight_bits
        others = ", ".join(f"{name}={bits}" for name, bits in mixed.bits.items() if bits != own)
        layers = ", ".join(f"{count} x {bits}" for bits, count in sorted(counts.items()))
        rate, gap = f"{clock_mhz * 1e6 / mixed.cycles:.1f}", f"{mixed.gap:.1%}"
        table.add_row(rate, gap, f"{mixed.loss:.3g}", str(own), layers, others)
    return table


def lane_bits_table(front: Sequence[LaneBits], clock_mhz: float) -> Table:
    """One row a point of the front: rate, distance to the bound, loss, and the layers of each width."""
    table = Table("fps", "gap", "loss", "layers by bits")
    for point in front:
        named = [
            f"{b}: {', '.join(n for n, own in point.bits.items() if own == b)}" for b in sorted({*point.bits.values()})
        ]
        rate, gap = f"{clock_mhz * 1e6 / point.cycles:,.1f}", f"{point.gap:.1%}"
        table.add_row(rate, gap, f"{point.loss:.3g}", "; ".join(named))
    return table


def probe_table(found: Probe) -> Table:
    """One row a node: the float32 error, and the codes that differ by themselves, in all, and in the C simulation."""
    table = Table("node", "operation", "elements", "float32 error", "codes", "spread", "C-sim")
    for tap in found.taps:
        counts = ["" if count is None else f"{count:,}" for count in (tap.codes, tap.spread, tap.csim)]
        error = "" if tap.error is None else f"{tap.error:.1e}"
        style = "red" if tap.deviates else None
        table.add_row(tap.node, tap.op, f"{tap.elements:,}", error, *counts, style=style)
    return table


def plan_table(hardware: Graph, plan: Plan, board: Board) -> FittingTable:
    """One row a unit of the plan: lanes, products a DSP slice, cycles and what it takes; below, all and the budget.

    Units that set the pace are bold; a resource beyond its budget is red. UltraRAM has a column where there is any.
    """
    used, budget, slowest = graph_cost(hardware), board.budget, graph_cycles(hardware)
    kinds = _shown((used, budget))
    headings = ("unit", "operation", "lanes", "× DSP", "cycles", *(kind.upper() for kind in kinds))
    table = FittingTable(headings, 4, ("FF", "× DSP", "operation"))
    for node in hardware.nodes:
        if isinstance(node, Fork) or node.renames or node.parallelism is None:
            continue
        lanes, taken = node.parallelism, frame_cycles(node, hardware)
        products = {None: "", 0: "LUTs"}.get(lanes.products_per_dsp, str(lanes.products_per_dsp))
        products = "consts" if lanes.constant else products
        counts = [f"{n:,}" for n in (taken, *_counts(cost(node, hardware), kinds))]
        operation, width = type(node).__name__, f"{lanes.lanes_in} → {lanes.lanes_out}"
        table.add_row(node.name, operation, width, products, *counts, style="bold" if taken == slowest else None)
    table.add_section()
    totals, limits = (_counts(found, kinds) for found in (used, budget))
    marked = [Text(f"{n:,}", "red" if n > limit else "") for n, limit in zip(totals, limits, strict=True)]
    table.add_row("all and both ports", "", "", "", f"{slowest:,}", *marked)
    table.add_row(f"budget, {plan.board}", "", "", "", "", *(f"{n:,}" for n in limits))
    return table


def _shown(found: Iterable[Resources]) -> list[str]:
    """The resources that have a column: UltraRAM, which few boards have, only where there is any."""
    uram = any(each.uram for each in found)
    return [kind for kind in KINDS if kind != "uram" or uram]


def _counts(found: Resources, kinds: Sequence[str]) -> list[int]:
    return [getattr(found, kind) for kind in kinds]


def solver_lines(plan: Plan, rate: float) -> list[str]:
    """The explorer's lines about its plan of ``rate`` fps: proof, limits and help; nothing of a hand's."""
    solver = plan.solver
    if solver is None:
        return ["A plan by hand: nothing is proved of it."]
    lines = [
        f"{rate:,.0f} fps, {solver.cycles:,} cycles a frame, {solver.status}, gap {solver.gap:.2%}, "
        f"{solver.seconds:.1f} s ({solver.name})"
    ]
    if solver.costs:
        lines.append(f"Units, converters and FIFOs {solver.costs}; the table estimates them")
    if solver.limited_by:
        lines.append(f"Limited by {'; '.join([solver.limited_by, *solver.prices])}")
    if solver.bound_fps:
        lines.append(f"{rate / solver.bound_fps:.0%} of the bound, {solver.bound_fps:,.0f} fps: {solver.bound_by}")
    return lines


def rows_lines(search: Search, architectures: Iterable[str]) -> list[str]:
    """The lines of the measured designs in ``search`` on each of the ``architectures``; nothing where it has none."""
    return [f"Planned by {told(search.rows, kind)}" for kind in sorted(set(architectures))] if search.rows else []


def front_table(points: Sequence[Point]) -> Table:
    """One row a point of the front, fastest first."""
    kinds = _shown(point.resources for point in points)
    table = Table("fps", "cycles", *(kind.upper() for kind in kinds), "scarcest", "gap")
    for point in points:
        counts = [f"{n:,}" for n in (round(point.fps), point.cycles, *_counts(point.resources, kinds))]
        table.add_row(*counts, f"{point.share:.0%}", f"{point.gap:.2%}")
    return table


def on_boards_table(found: Sequence[OnBoard]) -> FittingTable:
    """The accelerators found: their rates and what they use."""
    heading = ("Board", "Architecture", "Frames a second", *(kind.upper() for kind in KINDS), "MHz", "Plan")
    table = FittingTable(heading, 2, ("FF", "MHz"), "The network on every board: used, and of what a plan may use")
    for entry in found:
        fps, counts = "does not fit", [""] * len(KINDS)
        if entry.fps is not None and entry.cost is not None:
            fps = f"{entry.fps:,.0f}" if entry.fps >= 10 else f"{entry.fps:.3g}"
            counts = [_of_budget(*pair) for pair in zip(entry.cost, entry.board.budget, strict=True)]
        cells = (entry.board.name, entry.architecture, fps, *counts, f"{entry.clock_mhz:g}", entry.status)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _of_budget(used: int, budget: int) -> str:
    return f"{used:,} {used / budget:.0%}" if budget else f"{used:,}"
