"""Plans: what is written reads back, and each mistake of a hand-written one is named."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.graphs import conv_net, residual_net
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism
from toolchain.passes.apply_plan import apply_plan, check, load_plan
from toolchain.passes.insert_forks import insert_forks
from toolchain.plan import Lanes, Plan, plan_text
from toolchain.units.table import schedule

GRAPH = insert_forks(residual_net())
PLAN = explore(GRAPH, load_board("zu3eg"), model="digest")


def test_a_plan_reads_back_as_written(tmp_path: Path) -> None:
    write_text(tmp_path / "plan.json", plan_text(PLAN))

    assert load_plan(tmp_path / "plan.json", GRAPH) == PLAN


def test_a_saved_plan_has_one_node_a_line(tmp_path: Path) -> None:
    write_text(tmp_path / "plan.json", plan_text(PLAN))
    text = (tmp_path / "plan.json").read_text()

    assert '  "matvec1": {"lanes_in": ' in text
    assert json.loads(text)["board"] == "zu3eg"


def test_weights_can_be_planned_as_constants(tmp_path: Path) -> None:
    """With every lane at once; with fewer the nearest options are named."""
    graph = insert_forks(conv_net())
    plan = explore(graph, load_board("zu3eg"))
    table = plan.model_dump()
    table["nodes"] |= {"window0": {"lanes_in": 2, "lanes_out": 18}}
    table["nodes"]["matvec1"] = {"lanes_in": 18, "lanes_out": 4, "constant": True}
    write_text(tmp_path / "plan.json", plan_text(Plan.model_validate(table)))
    loaded = load_plan(tmp_path / "plan.json", graph)
    (node,) = [n for n in apply_plan(graph, loaded).nodes if n.name == "matvec1"]

    assert '"matvec1": {"lanes_in": 18, "lanes_out": 4, "constant": true}' in (tmp_path / "plan.json").read_text()
    assert node.parallelism == Parallelism(18, 4, constant=True)
    timing = schedule(node, graph.value(node.inputs[0]), node.parallelism)
    assert timing.cycles == node.output.shape[0] * node.output.shape[1]

    table["nodes"]["matvec1"] = {"lanes_in": 18, "lanes_out": 2, "constant": True}
    with pytest.raises(UserError, match=r"^MatVec 'matvec1' cannot have lanes_in 18, lanes_out 2, constant \["):
        check(Plan.model_validate(table), graph)


def words(node: Node) -> tuple[int, int]:
    """Lanes of a planned node, how it multiplies left out."""
    assert node.parallelism is not None
    return node.parallelism.lanes_in, node.parallelism.lanes_out


def test_elementwise_nodes_may_be_left_out() -> None:
    """Thresholds, multiply-shifts and forks inherit the lanes of what they read."""
    heads = {n: p for n, p in PLAN.nodes.items() if not n.startswith(("threshold", "mulshift"))}
    short = PLAN.model_copy(update={"nodes": heads})

    assert len(heads) < len(PLAN.nodes)
    assert [words(n) for n in apply_plan(GRAPH, short).nodes] == [words(n) for n in apply_plan(GRAPH, PLAN).nodes]


def changed(**changes: Any) -> dict[str, Any]:
    """The plan as a table with changes; nodes given as None are removed."""
    table = PLAN.model_dump()
    for name, lanes in changes.pop("nodes", {}).items():
        if lanes is None:
            del table["nodes"][name]
        else:
            table["nodes"][name] = {"lanes_in": lanes[0], "lanes_out": lanes[1]}
    return table | changes


SOLVER = changed()["solver"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(nodes={"matvec77": (1, 1)}), "unknown node 'matvec77' [{}]; did you mean 'matvec7'?"),
        (changed(nodes={"matvec4": None}), "node 'matvec4' has no entry [{}]; give its lanes_in and lanes_out"),
        (
            changed(nodes={"add9": (3, 3)}),
            "Add 'add9' cannot have lanes_in 3, lanes_out 3 [{}]; nearest: 4 -> 4, 2 -> 2, 1 -> 1",
        ),
        (changed(input_lanes=2), "the input reader cannot have 2 lanes [{}]; one of: 1, 3"),
        (changed(output_lanes=7), "the output writer cannot have 7 lanes [{}]; one of: 1, 2, 5"),
        (changed(clock=250), "unknown key 'clock' [{}]; did you mean 'clock_mhz'?"),
        (changed(version=2), "bad value for 'version': Input should be 1, got 2 [{}]"),
        (
            changed(nodes={"add9": (0, 1)}),
            "bad value for 'nodes.add9.lanes_in': Input should be greater than or equal to 1, got 0 [{}]",
        ),
        (
            changed(depths={"t4": 1}),
            "bad value for 'depths.t4': Input should be greater than or equal to 2, got 1 [{}]",
        ),
        (
            changed(depths={"t4": 10**12}),
            f"bad value for 'depths.t4': Input should be less than or equal to 67108864, got {10**12} [{{}}]",
        ),
        (changed(clock_mhz=math.inf), "bad value for 'clock_mhz': Input should be a finite number, got inf [{}]"),
        (
            changed(clock_mhz=1e-300),
            "bad value for 'clock_mhz': Input should be greater than or equal to 1, got 1e-300 [{}]",
        ),
        (
            changed(clock_mhz=1000.1),
            "bad value for 'clock_mhz': Input should be less than or equal to 1000, got 1000.1 [{}]",
        ),
        (
            changed(solver=SOLVER | {"gap": math.nan}),
            "bad value for 'solver.gap': Input should be a finite number, got nan [{}]",
        ),
    ],
)
def test_a_mistake_in_a_plan_is_named(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(table))

    with pytest.raises(UserError) as error:
        load_plan(path, GRAPH)

    assert str(error.value) == message.format(path)


def test_a_matrix_vector_unit_takes_what_its_window_delivers() -> None:
    """SIMD is the window's lanes_out."""
    graph = conv_net()
    plan = explore(graph, load_board("zu3eg"))
    wrong = plan.model_copy(update={"nodes": plan.nodes | {"matvec1": Lanes(lanes_in=6, lanes_out=1)}})

    with pytest.raises(UserError, match="MatVec 'matvec1' cannot have lanes_in 6, lanes_out 1"):
        check(wrong, graph)


def test_a_file_that_is_no_plan_is_named(tmp_path: Path) -> None:
    """No file, no JSON, no object."""
    path = tmp_path / "plan.json"
    with pytest.raises(UserError, match="cannot read the plan"):
        load_plan(path, GRAPH)
    path.write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_plan(path, GRAPH)
    path.write_text("[]")
    with pytest.raises(UserError, match="a plan is a JSON object"):
        load_plan(path, GRAPH)


def test_the_smallest_hand_written_plan_is_enough() -> None:
    """Board, clock, ends and the lanes of the units."""
    heads = {n: p for n, p in PLAN.nodes.items() if not n.startswith(("threshold", "mulshift"))}
    plan = Plan(board="zu3eg", clock_mhz=250.0, input_lanes=3, output_lanes=1, nodes=heads)

    check(plan, GRAPH)
