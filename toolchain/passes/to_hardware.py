"""INTEGER graph + plan -> HARDWARE graph."""

from __future__ import annotations

from toolchain.ir.graph import Graph
from toolchain.passes.apply_plan import apply_plan
from toolchain.passes.hardware_form import hardware_form
from toolchain.passes.insert_width_converters import insert_width_converters
from toolchain.passes.minimize_fifos import with_depths
from toolchain.passes.size_fifos import size_fifos
from toolchain.plan import Plan


def to_hardware(graph: Graph, plan: Plan) -> Graph:
    """``graph`` with the lanes of ``plan``, one reader a stream, matching widths and sized FIFOs; computes the same.

    Raises:
        UserError: the plan does not fit the graph.
    """
    forked = hardware_form(graph)  # first: plans name forks
    planned = apply_plan(forked, plan)
    converted = insert_width_converters(planned, plan.input_lanes, plan.output_lanes)  # needs the lanes
    if plan.depths is not None:
        return with_depths(converted, plan.depths)  # last: needs every stream
    return size_fifos(converted)  # last: needs every stream and its width
