"""The one table of units, and what is asked of the unit of a node."""

from __future__ import annotations

from typing import Any

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources
from toolchain.units import (
    add,
    argmax,
    global_pools,
    maps,
    matmul,
    matvec,
    multiply,
    norm,
    requantizers,
    row_conv,
    softmax,
    taps,
    window,
    wiring,
)
from toolchain.units.call import Call
from toolchain.units.order import parallelism
from toolchain.units.schedule import Iterations, Schedule
from toolchain.units.unit import Unit, Units

UNITS: Units = {
    **window.UNITS,
    **matvec.UNITS,
    **row_conv.UNITS,
    **taps.UNITS,
    **global_pools.UNITS,
    **requantizers.UNITS,
    **add.UNITS,
    **multiply.UNITS,
    **matmul.UNITS,
    **norm.UNITS,
    **softmax.UNITS,
    **argmax.UNITS,
    **maps.UNITS,
    **wiring.UNITS,
}


def unit_of(node: Node) -> Unit[Any]:
    """The unit of ``node``; TypeError for an operation without one."""
    if type(node) not in UNITS:
        raise TypeError(f"no hardware unit for {type(node).__name__}")
    return UNITS[type(node)]


def options(node: Node, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
    """Return the lanes that the unit of ``node`` may have; see ``Unit.options``."""
    return unit_of(node).options(node, x, upstream)


def schedule(node: Node, x: Value, lanes: Parallelism) -> Schedule:
    """Return the schedule of the unit of ``node``; see ``Unit.schedule``."""
    return unit_of(node).schedule(node, x, lanes)


def iterations(node: Node, x: Value, frames: int) -> Iterations:
    """The iterations of ``node`` on input ``x`` over a call of ``frames`` frames.

    Raises:
        FlowError: the node has no parallelism.
    """
    return schedule(node, x, parallelism(node)).over(frames)


def unit_cost(node: Node, x: Value, lanes: Parallelism, *others: Value) -> Resources:
    """Return the cost of the unit of ``node``; see ``Unit.cost``."""
    return unit_of(node).cost(node, x, lanes, *others)


def completed(node: Node, x: Value, lanes: Parallelism) -> Parallelism:
    """Return ``lanes`` with all that they leave to the unit of ``node``; see ``Unit.completed``."""
    return unit_of(node).completed(node, x, lanes)


def lane_facts(node: Node) -> dict[str, int]:
    """Return the facts of a node's lanes for reports, none without lanes; see ``Unit.facts``."""
    return {} if node.parallelism is None else unit_of(node).facts(node, node.parallelism)


def template(node: Node, graph: Graph) -> Call:
    """Return the call of the unit of ``node``; see ``Unit.template``."""
    return unit_of(node).template(node, graph)
