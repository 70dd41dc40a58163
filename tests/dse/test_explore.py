"""From a graph and a board to a plan: within the budget, proved, and honest about what cannot be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from tests.graphs import Builder, conv_net, mlp, residual_net
from toolchain.boards import Board, load_board
from toolchain.dse.bound import bound, mac_cycles, macs, macs_per_dsp
from toolchain.dse.expand import expand
from toolchain.dse.explore import Found, _record, _reserve, _Search, explore
from toolchain.dse.problem import Problem
from toolchain.dse.solve import Solution
from toolchain.errors import NoRoom, UserError
from toolchain.ir.ops.products import Depthwise, MatVec
from toolchain.passes.insert_forks import insert_forks
from toolchain.passes.pipeline import to_hardware
from toolchain.plan import Plan
from toolchain.resources import Resources
from toolchain.units.totals import graph_cost, graph_cycles

BOARD = load_board("zu3eg")
GRAPHS = {
    "mlp": mlp((64, 48, 32, 10), bits=4),
    "conv": conv_net(size=12, channels=8),
    "residual": residual_net(size=16, channels=8, blocks=3),
}


def shrunk(share: float) -> Board:
    """The board with a fraction of its fabric and no shell."""
    device = BOARD.device.model_copy(
        update={k: int(getattr(BOARD.device, k) * share) for k in ("lut", "ff", "dsp", "bram18")}
    )
    return BOARD.model_copy(update={"device": device, "shell": BOARD.shell.model_copy(update={"lut": 0, "ff": 0})})


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 1.0])
def test_no_plan_exceeds_the_budget(name: str, share: float) -> None:
    """Converters, FIFOs, reader and writer included; the recorded cycles are the hardware graph's."""
    graph, board = GRAPHS[name], shrunk(share)
    plan = explore(graph, board)
    hardware = to_hardware(graph, plan)

    assert graph_cost(hardware).fits(board.budget)
    assert plan.solver is not None
    assert plan.solver.cycles == graph_cycles(hardware)
    assert (plan.solver.status == "optimal") == (plan.solver.gap == 0.0)


def test_a_target_is_met_with_fewer_resources() -> None:
    """A tenth of the best rate takes less of the board than the best."""
    graph = GRAPHS["residual"]
    best = explore(graph, BOARD)
    assert best.solver is not None
    target = 250e6 / best.solver.cycles / 10
    slow = explore(graph, BOARD, target_fps=target)

    assert slow.solver is not None
    assert 250e6 / slow.solver.cycles >= target
    used = [graph_cost(to_hardware(graph, plan)).share(BOARD.budget) for plan in (slow, best)]
    assert used[0] < used[1]


def test_the_rate_of_a_plan_is_one_that_fits() -> None:
    """Also at clocks where a quotient of floats is a little less than the plan's cycles."""
    graph = GRAPHS["conv"]
    best = explore(graph, BOARD)
    assert best.solver is not None
    cycles = best.solver.cycles
    clock = next(mhz for mhz in range(50, 400) if mhz * 1e6 / (mhz * 1e6 / cycles) < cycles)
    again = explore(graph, BOARD, clock_mhz=clock, target_fps=clock * 1e6 / cycles)
    assert again.solver is not None and again.solver.cycles == cycles


def test_an_unreachable_rate_names_the_unit_and_what_fits() -> None:
    with pytest.raises(UserError) as error:
        explore(mlp(), BOARD, target_fps=1e9)

    assert str(error.value) == (
        "1,000,000,000 fps are out of reach: 'input reader' takes 1 at least [zu3eg]; 250,000,000 fps fit"
    )


def test_a_rate_beyond_the_budget_names_the_resource() -> None:
    graph = residual_net(size=16, channels=16, blocks=3)
    best = explore(graph, BOARD)
    assert best.solver is not None

    reason = r"fps do not fit: \d+ lut short \(\d+ needed, 40803 beside the shell\).* fps fit"
    with pytest.raises(UserError, match=reason):
        explore(graph, BOARD, target_fps=1.3 * 250e6 / best.solver.cycles)


def test_a_network_without_room_names_the_resource() -> None:
    with pytest.raises(UserError, match=r"the network does not fit: \d+ lut short"):
        explore(GRAPHS["residual"], shrunk(0.05))


def test_the_least_slower_count_of_cycles_that_fits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is among any number of counts; nothing where none fits."""
    graph = mlp()
    for size in range(1, 12):
        counts = list(range(100, 100 + size))
        problem = SimpleNamespace(cycle_counts=lambda counts=counts: [7, 50, *counts])
        search = _Search(graph, cast(Problem, problem), BOARD, 250.0, "", 60.0, "highs", spares=False)
        for least in (*counts, 200):
            monkeypatch.setattr(_Search, "fit", lambda _, cycles, least=least: cycles if cycles >= least else None)
            assert search.fit_slower(50) == (least if least < 200 else None)


@pytest.mark.parametrize(
    ("cycles", "bound", "own", "gap"), [(50, 40, 0.0, 0.2), (40, 40, 0.0, 0.0), (40, 40, 0.5, 0.5)]
)
def test_a_plan_is_optimal_where_its_cycles_are_the_first_rounds_bound(
    cycles: int, bound: int, own: float, gap: float
) -> None:
    solution = SimpleNamespace(gap=own, solver="highs")
    found = Found(cast(Plan, None), cast(Solution, solution), cycles, Resources())
    record = _record(found, cast(Solution, SimpleNamespace(cycles_bound=bound)), None, 1.5)
    assert (record.gap, record.status) == (gap, "feasible" if gap else "optimal")
    assert (record.cycles, record.seconds, record.name) == (cycles, 1.5, "highs")


@pytest.mark.parametrize(
    ("dsp", "least", "own", "gap"), [(4, 0.4, 0.0, 0.0), (5, 0.4, 0.0, 0.2), (5, 0.4, 0.1, 0.2), (4, 0.4, 0.1, 0.1)]
)
def test_a_plan_of_a_rate_is_optimal_where_it_takes_the_least_share_that_the_first_round_proves(
    dsp: int, least: float, own: float, gap: float
) -> None:
    """Of the whole budget, whatever a later round kept free and whatever it proved of the rest."""
    solution = SimpleNamespace(gap=own, solver="highs", resources=Resources(dsp=dsp))
    found = Found(cast(Plan, None), cast(Solution, solution), 50, Resources(dsp=3))
    record = _record(found, cast(Solution, SimpleNamespace(share_bound=least)), Resources(dsp=10), 1.5)
    assert (record.gap, record.status) == (pytest.approx(gap), "feasible" if gap else "optimal")


def test_a_plan_that_has_to_keep_room_free_is_not_called_the_least_of_the_whole_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where FIFOs take the slice that the first round's plan leaves none of, the next plan has more LUTs for it."""
    graph, board, cycles = GRAPHS["conv"], shrunk(0.2), 336
    first = explore(graph, board, target_fps=250e6 / cycles)
    least = graph_cost(to_hardware(graph, first))
    waiting = Resources(dsp=board.budget.dsp - least.dsp + 1)
    monkeypatch.setattr(_Search, "used", lambda _, hardware: graph_cost(hardware) + waiting)
    plan = explore(graph, board, target_fps=250e6 / cycles)

    found = graph_cost(to_hardware(graph, plan))
    shares = [each.scarcest(board.budget) for each in (least, found)]
    assert first.solver is not None and plan.solver is not None and shares[0] < shares[1]
    assert (first.solver.status, first.solver.gap) == ("optimal", 0.0)
    assert (plan.solver.status, plan.solver.gap) == ("feasible", (shares[1] - shares[0]) / shares[1])


def test_what_was_exceeded_is_kept_free_by_one_more_at_least() -> None:
    """Of LUTs more than the plan took beyond the program's, of slices what it took; nothing of what fitted."""
    extra, over = Resources(lut=3, ff=9, dsp=7), Resources(lut=1, dsp=2)
    assert _reserve(Resources(lut=5, ff=4), extra, over) == Resources(lut=6, ff=4, dsp=7)


@pytest.mark.parametrize(
    ("target", "fits", "hint"),
    [(None, 10**9, "use fewer bits, or take a larger board"), (10_000_000, 40, "6,250,000 fps fit")],
)
def test_what_fits_but_for_the_streams_between_says_so(
    target: float | None, fits: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans of 40 cycles and more fit, at 250 MHz, or none."""
    monkeypatch.setattr(_Search, "fit", lambda _, cycles, first=None: None)
    slower = SimpleNamespace(cycles=fits)
    monkeypatch.setattr(_Search, "fit_slower", lambda *_: None if fits == 10**9 else slower)
    with pytest.raises(NoRoom) as error:
        explore(mlp(), BOARD, target_fps=target)
    assert str(error.value) == (f"the units fit, but not with the converters and FIFOs between them [zu3eg]; {hint}")


@pytest.mark.parametrize("name", GRAPHS)
def test_no_plan_beats_the_bound(name: str) -> None:
    graph = GRAPHS[name]
    plan = explore(graph, BOARD)
    assert plan.solver is not None

    assert 250e6 / plan.solver.cycles <= bound(graph, BOARD, 250.0).fps


def test_no_rate_exceeds_the_memorys() -> None:
    """A map that one quantizer reads and writes: its unit takes 244,141 frames a second, 32 KB each."""
    b = Builder((32, 32, 16), 8)
    graph = b.graph(b.threshold(b.input, 8))
    plan = explore(graph, BOARD)
    assert plan.solver is not None

    assert 250e6 / plan.solver.cycles > 4.264e9 / 32768
    assert plan.solver.limited_by == "memory: 32768 bytes a frame at 4.26 GB/s" and plan.solver.prices == []
    assert explore(graph, BOARD, target_fps=130_126).solver is not None
    with pytest.raises(NoRoom) as error:
        explore(graph, BOARD, target_fps=130_128)
    assert str(error.value) == (
        "130,128 fps are more than the memory allows, 32768 bytes a frame at 4.26 GB/s [zu3eg]; 130,126 fps fit"
    )


def test_the_bound_names_its_limit() -> None:
    """A tiny network is limited by its bytes, a larger one by its multiplications."""
    assert bound(mlp(), BOARD, 250.0).limited_by == "memory: 5 bytes a frame at 4.26 GB/s"
    assert bound(GRAPHS["residual"], BOARD, 250.0).limited_by.startswith("multipliers: ")


def test_macs_are_counted_by_bit_width() -> None:
    assert macs(mlp((16, 12, 8, 4), bits=2)) == {(2, 2): 16 * 12 + 12 * 8 + 8 * 4}


def test_the_least_cycles_are_those_of_a_device_that_multiplies_everywhere() -> None:
    """Of 8 x 8 bits a slice of 360 takes two and 74.88 LUTs one: 64 pairs of bits at 1.17. Signs have a bit.

    Weights of one digit are wiring in logic, which takes a LUT at least; a filter is not built so.
    """
    b = Builder((8, 8, 4), 8)
    b.depthwise(b.window(b.input), 9, 8)
    (_, filters) = b.nodes
    assert isinstance(filters, Depthwise)
    shifts = replace(filters, weight=np.full((9, 4), 8))
    eight_bits = 8 * 8 * 36 / (360 * 2 + 70_560 / 74.88)
    for node in (filters, shifts):
        assert mac_cycles(b.graph(node.output).with_nodes([b.nodes[0], node]), BOARD) == eight_bits

    b = Builder((1, 1, 96), 8)
    b.matvec(b.input, 96, 8)
    (dense,) = b.nodes
    assert isinstance(dense, MatVec)
    graph = b.graph(dense.output)
    dense_cycles = 96 * 96 / (360 * 2 + 70_560 / 74.88)
    assert mac_cycles(graph, BOARD) == dense_cycles
    one = replace(dense, weight=4 * np.eye(96, dtype=np.int64))
    assert mac_cycles(graph.with_nodes([one]), BOARD) == 96 * 96 / (360 * 2 + 70_560 * 96 * 96)
    signs = replace(dense, weight=np.where(dense.weight < 0, -1, 1))
    assert mac_cycles(graph.with_nodes([signs]), BOARD) == 96 * 96 / (360 * macs_per_dsp(1, 8) + 70_560 / 9.36)


@pytest.mark.parametrize(("bits", "products"), [(2, 15), (3, 8), (4, 6), (5, 6), (6, 2), (8, 2)])
def test_packing_reaches_the_published_densities(bits: int, products: int) -> None:
    """Products a DSP48E2 of equal operand widths, as published for HiKonv's search."""
    assert macs_per_dsp(bits, bits) == products


@pytest.mark.parametrize("graph", [mlp((784, 64, 64, 64, 10)), residual_net(size=32, channels=16, blocks=3)])
def test_expansion_is_small(graph) -> None:  # type: ignore[no-untyped-def]
    """What the solver sees does not grow with the divisors of the widths."""
    problem = expand(insert_forks(graph))

    assert max(len(d.options) for d in problem.decisions) < 800


def test_a_flattened_input_is_read_across_pixels() -> None:
    """A map that is flattened at once fills whole memory words, also with a quantizer behind the flatten."""
    b = Builder((28, 28, 1))
    graph = b.graph(b.matvec(b.mulshift(b.reshape(b.input), per_channel=False), 16, bits=2))
    plan = explore(graph, BOARD)

    assert plan.input_lanes == 16
    assert plan.solver is not None
    assert plan.solver.cycles == 49
