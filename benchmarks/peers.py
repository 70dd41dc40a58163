"""The choice of parallelism by FINN's SetFolding and NN2FPGA's programs, on this project's units and costs.

Re-implemented from their published source (FINN 39f0c9a, transformation/fpgadataflow/set_folding.py; NN2FPGA fad6429,
balance_computation); both at the granularity of this project's options, with whole positions as the only unit in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from toolchain.boards import Board
from toolchain.dse.expand import expand
from toolchain.dse.explore import plan_of
from toolchain.dse.problem import Decision, Option, Problem
from toolchain.dse.solve import solve
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Parallelism, QInt
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.resources import Resources, total
from toolchain.units.fabric import products_per_dsp
from toolchain.units.totals import graph_cost, graph_cycles

FINN_WORD_BITS = 36  # mvau_wwidth_max: weights that a PE reads a cycle
FINN_STEP = 1.2  # ratio of FINN's neighbouring targets
NN2FPGA_DSP_SHARE = 0.8  # share of the board's slices in its first program

Choice = tuple[Graph, Resources]


def finn(graph: Graph, board: Board) -> Choice | None:
    """SetFolding at every target of a ladder; the fastest accelerator that fits. It has no resource model itself."""
    forked = hardware_form(graph)
    problem = expand(forked, plain=True)
    counts = problem.cycle_counts()
    target, best = float(counts[0]), None
    while best is None and target <= counts[-1] * FINN_STEP:
        folded = [_fold(d, forked, int(target)) for d in problem.decisions]
        target *= FINN_STEP
        if total(option.resources for option in folded).fits(board.budget):  # converters and FIFOs come on top
            choice = built(graph, forked, folded)
            best = choice if choice[1].fits(board.budget) else None
    return best


def _fold(decision: Decision, graph: Graph, target: int) -> Option:
    """The first option fast enough in SetFolding's order: SIMD up to the word limit, then PE; else the fastest."""
    units = {node.name: node for node in graph.nodes}
    heads = [units[name] for name in decision.options[0].lanes if name in units]
    matvec = next((node for node in heads if isinstance(node, MatVec)), None)

    def order(option: Option) -> tuple[int, int, int]:
        if matvec is None:
            return (0, max(p.lanes_in for p in option.lanes.values()), option.resources.lut)
        lanes = option.lanes[matvec.name]
        return (lanes.lanes_out, lanes.lanes_in, option.resources.lut)

    def allowed(option: Option) -> bool:
        if matvec is None:
            return True
        lanes = option.lanes[matvec.name]
        default = products_per_dsp(replace(lanes, products_per_dsp=None), matvec.weight_type, _input(graph, matvec))
        least = min(o.lanes[matvec.name].lanes_in for o in decision.options)
        narrow = lanes.lanes_in * matvec.weight_type.bits <= FINN_WORD_BITS or lanes.lanes_in == least
        return narrow and lanes.products_per_dsp == default

    legal = sorted(filter(allowed, decision.options), key=order) or sorted(decision.options, key=order)
    widest = max(option.lanes[matvec.name].lanes_in for option in legal) if matvec else 0
    climb = [o for o in legal if matvec is None or o.lanes[matvec.name].lanes_out == 1]
    climb += [o for o in legal if matvec is not None and o.lanes[matvec.name].lanes_in == widest]
    return next((o for o in climb if o.cycles <= target), min(legal, key=lambda o: o.cycles))


def _input(graph: Graph, node: MatVec) -> QInt:
    return graph.value(node.inputs[0]).qint


def nn2fpga(graph: Graph, board: Board) -> Choice | None:
    """Plan by NN2FPGA's programs: kernels in parallel, least cycles within 0.8 of DSPs and BRAM, then least of both.

    LUTs and flip-flops are not constrained; while what comes out does not fit, its DSP budget shrinks by a fifth.
    """
    forked = hardware_form(graph)
    problem = _unrolled(expand(forked, plain=True), forked)
    free = 10**9
    slices = board.device.dsp * NN2FPGA_DSP_SHARE
    while slices >= 1:
        budget = Resources(free, free, int(slices), board.device.bram18)
        try:
            found = solve(replace(problem, joints=()), budget, time_limit=4)
        except UserError:
            return None
        choice = built(graph, forked, list(found.chosen.values()))
        if choice[1].fits(board.budget):
            return choice
        slices = min(slices * 0.8, found.resources.dsp - 1)
    return None


def _unrolled(problem: Problem, graph: Graph) -> Problem:
    """Options whose windows deliver whole kernels, products in DSP slices; several a slice where they pack."""
    windows = {node.name for node in graph.nodes if isinstance(node, Window) and node.taps > 1}

    def whole(option: Option) -> bool:
        return all(p.lanes_out > p.lanes_in for name, p in option.lanes.items() if name in windows)

    def on_slices(option: Option) -> bool:
        return 0 not in {p.products_per_dsp for p in option.lanes.values()}

    def kept(decision: Decision) -> Decision:
        unrolled = tuple(filter(whole, decision.options)) or decision.options
        return Decision(decision.name, tuple(filter(on_slices, unrolled)) or unrolled)

    return Problem(tuple(map(kept, problem.decisions)), problem.joints)


def built(graph: Graph, forked: Graph, options: list[Option]) -> Choice:
    """The accelerator with one option for each decision of ``forked``, ``graph`` with its forks, and what it takes."""
    lanes: dict[str, Parallelism] = {name: p for option in options for name, p in option.lanes.items()}
    hardware = to_hardware(graph, plan_of(forked, lanes, "zu3eg", 250.0, ""))
    return hardware, graph_cost(hardware)


TOOLS: dict[str, Callable[[Graph, Board], Choice | None]] = {"FINN SetFolding": finn, "NN2FPGA": nn2fpga}


def rate(found: Choice | None, clock_mhz: float) -> float | None:
    """Frames per second of a choice; None: nothing fits."""
    return None if found is None else clock_mhz * 1e6 / graph_cycles(found[0])
