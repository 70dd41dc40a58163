"""UltraRAM in streaming accelerators: only where a board has it, where it pays, and exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.graphs import residual_net
from toolchain.boards import Board, load_board
from toolchain.dse.expand import expand
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.flow.tables import plan_table
from toolchain.hls_templates.generate import generate
from toolchain.ir.evaluate import evaluate
from toolchain.passes.apply_plan import check
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Lanes
from toolchain.simulate.csim import build
from toolchain.units.cost_model.parts import bram18, uram
from toolchain.units.fabric import use_uram
from toolchain.units.fabric_costs import fifo, memory
from toolchain.units.totals import graph_cost

GRAPH = residual_net(size=48, channels=16, blocks=2)


def short_of_blocks(name: str, blocks: int) -> Board:
    """The board with room for so many block RAMs."""
    board = load_board(name)
    planning = board.planning.model_copy(update={"bram18": blocks / board.device.bram18})
    return board.model_copy(update={"planning": planning})


@pytest.mark.parametrize("depth", [65, 512, 1024, 1025, 2048, 4096, 4097, 8192])
@pytest.mark.parametrize("width", [1, 16, 36, 37, 72, 73, 128, 144])
def test_ultraram_takes_a_memory_that_fills_two_block_rams_for_each(depth: int, width: int) -> None:
    ultra = use_uram(depth, width)

    assert ultra == (bram18(depth, width) >= 2 * uram(depth, width) and depth * width > 1024)
    assert memory(depth, width, ultra=True).uram == (uram(depth, width) if ultra else 0)
    assert memory(depth, width).uram == 0


def test_a_shape_takes_whole_ultrarams() -> None:
    """4096 x 72 bits (AMD UG573); a FIFO counts its pointers besides."""
    assert [uram(*shape) for shape in ((4096, 72), (4097, 72), (4096, 73), (8192, 144))] == [1, 2, 2, 4]
    assert fifo(4096, 72, ultra=True) == replace(fifo(4096, 72), bram18=0, uram=1)


def test_boards_without_ultraram_have_the_options_that_they_had() -> None:
    problem, wide = expand(hardware_form(GRAPH)), expand(hardware_form(GRAPH), ultra=True)

    assert "uram" not in problem.kinds and "uram" in wide.kinds
    for plain, more in zip(problem.decisions, wide.decisions, strict=True):
        assert plain.options == tuple(o for o in more.options if not any(p.ultra for p in o.lanes.values()))


def test_ultraram_makes_room_where_block_ram_is_short() -> None:
    """Within 16 block RAMs and UltraRAM the network is as fast as anywhere; within 16 block RAMs alone it is not."""
    board = short_of_blocks("kv260", 16)
    without = board.model_copy(update={"planning": board.planning.model_copy(update={"uram": None})})
    plan = explore(GRAPH, board)
    hardware = to_hardware(GRAPH, plan)
    used = graph_cost(hardware)

    assert plan.solver is not None and plan.solver.status == "optimal"
    assert used.fits(board.budget) and used.uram > 0
    assert any(lanes.ultra for lanes in plan.nodes.values())
    slower = explore(GRAPH, without).solver
    assert slower is not None and slower.cycles > plan.solver.cycles
    anywhere = explore(GRAPH, load_board("kv260")).solver
    assert anywhere is not None and anywhere.cycles == plan.solver.cycles


def test_the_table_of_a_plan_shows_ultraram_where_there_is_any() -> None:
    """Of the units, of all together and of the budget."""
    small = residual_net(size=8, channels=4, blocks=1)
    plan = explore(small, load_board("zu3eg"))
    tables = {name: plan_table(to_hardware(small, plan), plan, load_board(name)) for name in ("zu3eg", "kv260")}
    rows = [row[0] for row in tables["kv260"].rows if row is not None]

    assert [table.headings[-1] for table in tables.values()] == ["BRAM18", "URAM"]
    assert {len(row) for row in rows} == {len(tables["kv260"].headings)}
    assert [str(row[-1]) for row in rows[-2:]] == ["0", str(load_board("kv260").budget.uram)]


def test_a_plan_with_ultraram_computes_the_same() -> None:
    """C simulation of rows and FIFOs that are bound to UltraRAM."""
    board = short_of_blocks("kv260", 16)
    hardware = to_hardware(GRAPH, explore(GRAPH, board))
    files = generate(hardware, board, 250.0)
    assert any("impl=uram" in text for text in files.values())

    codes = np.random.default_rng(0).integers(0, GRAPH.input.qint.max + 1, (2, *GRAPH.input.shape))
    assert np.array_equal(build(hardware, files, frames=2).run(codes), evaluate(GRAPH, codes)[GRAPH.outputs[0].value])


def test_an_entry_of_a_plan_names_ultraram() -> None:
    """By hand too, where the unit can have its lanes."""
    board = load_board("kv260")
    plan = explore(GRAPH, board)
    nodes = {name: entry.model_copy(update={"ultra": True}) for name, entry in plan.nodes.items()}
    within = plan.model_copy(update={"nodes": nodes})

    check(within, hardware_form(GRAPH))
    assert graph_cost(to_hardware(GRAPH, within)).uram > 0
    name = next(iter(nodes))
    wrong = plan.model_copy(update={"nodes": nodes | {name: Lanes(lanes_in=7, lanes_out=11, ultra=True)}})
    with pytest.raises(UserError, match="cannot have lanes_in 7, lanes_out 11"):
        check(wrong, hardware_form(GRAPH))
