"""MatVec(parallelism=None)   becomes   MatVec(parallelism=Parallelism(SIMD, PE)): the lanes of a plan on every node."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path

from toolchain.errors import UserError, unknown_name
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.node import Node
from toolchain.ir.types import Parallelism, Value
from toolchain.passes.pad_channels import pad_channels
from toolchain.passes.split_row_convs import split_row_convs
from toolchain.plan import Lanes, Plan, read_plan
from toolchain.units.lanes import READER, boundary_options, fits_streams, writers
from toolchain.units.table import completed, options, unit_of


def apply_plan(graph: Graph, plan: Plan) -> Graph:
    """Set the parallelism of every node; forks must have been inserted, row convolutions split off.

    Width converters keep theirs.

    Raises:
        UserError: the plan does not fit the graph.
    """
    lanes = assign(plan, graph)

    def rule(node: Node) -> Node:
        wanted = lanes.get(node.name, node.parallelism)
        return node if wanted == node.parallelism else replace(node, parallelism=wanted)

    return rewrite_nodes(graph, rule)


def load_plan(path: Path, graph: Graph) -> Plan:
    """The plan in ``path``, checked against ``graph`` (forks inserted).

    Raises:
        UserError: unreadable file, unknown key or node, missing node, or lanes that a unit cannot have.
    """
    plan = read_plan(path)
    check(plan, graph, where=str(path))
    return plan


def check(plan: Plan, graph: Graph, *, where: str = "plan") -> None:
    """Every unit of ``graph`` (forks inserted) has lanes it can have.

    Raises:
        UserError: unknown or missing node, or lanes that a unit cannot have.
    """
    assign(plan, graph, where=where)


def assign(plan: Plan, graph: Graph, *, where: str = "plan") -> dict[str, Parallelism]:
    """The lanes of every node of ``graph`` by ``plan``; width converters are left out.

    Raises:
        UserError: see ``check``.
    """
    graph = planned_forms(pad_channels(graph, plan.padded, where=where), plan)
    known = [node.name for node in graph.nodes]
    for name in plan.nodes:
        if name not in known:
            wrong = unknown_name("node", name, known)
            raise UserError(wrong.what, where=where, hint=wrong.hint)
    for node in graph.nodes:
        if node.name not in plan.nodes and unit_of(node).planned and not unit_of(node).follows:
            raise UserError(f"node '{node.name}' has no entry", where=where, hint="give its lanes_in and lanes_out")
    values, producers = graph.values(), graph.producers()
    _check_boundary(READER, plan.input_lanes, graph.input, _only_reshaped(graph), where)
    written = plan.lanes_of_outputs([output.name for output in graph.outputs], where=where)
    for writer, value, number in zip(writers(graph), graph.ends, written, strict=True):
        end = producers.get(value.name)
        _check_boundary(writer, number, value, end is not None and end.renames, where)
    lanes: dict[str, Parallelism] = {}
    streams = {graph.input.name: Parallelism(plan.input_lanes, plan.input_lanes)}
    for node in graph.nodes:
        x = values[node.inputs[0]]
        if not unit_of(node).planned:
            chosen = node.parallelism or streams[x.name]
        else:
            producer = producers.get(x.name)
            after_window = producer is not None and unit_of(producer).makes_windows
            chosen = _lanes(node, x, plan.nodes.get(node.name), streams[x.name], after_window, where)
            lanes[node.name] = chosen
        streams |= {value.name: chosen for value in node.outputs}
    return lanes


def planned_forms(graph: Graph, plan: Plan) -> Graph:
    """``graph`` with row convolutions where ``plan`` has several columns at once; a slice multiplies taps x columns."""
    several = {name: entry for name, entry in plan.nodes.items() if entry.columns > 1}
    taps = {name: (entry.products_per_dsp or 0) // entry.columns or None for name, entry in several.items()}
    return split_row_convs(graph, taps)


def _lanes(
    node: Node, x: Value, entry: Lanes | None, upstream: Parallelism, after_window: bool, where: str
) -> Parallelism:
    follows = after_window or node.renames
    legal = [p for p in options(node, x, upstream if follows else None) if fits_streams(node, x, p)]
    if entry is not None:
        wanted = Parallelism(
            entry.lanes_in, entry.lanes_out, entry.products_per_dsp, entry.columns, entry.constant, entry.ultra
        )
    else:
        wanted = Parallelism(upstream.lanes_out, upstream.lanes_out)
    wanted = completed(node, x, wanted)
    if replace(wanted, ultra=False) in legal:
        return wanted
    products = "" if wanted.products_per_dsp is None else f", products_per_dsp {wanted.products_per_dsp}"
    products += f", columns {wanted.columns}" if wanted.columns > 1 else ""
    products += ", constant" if wanted.constant else ""
    raise UserError(
        f"{type(node).__name__} '{node.name}' cannot have lanes_in {wanted.lanes_in}, lanes_out {wanted.lanes_out}"
        f"{products}",
        where=where,
        hint=f"nearest: {_nearest(wanted, legal)}",
    )


def _nearest(wanted: Parallelism, legal: list[Parallelism]) -> str:
    def distance(p: Parallelism) -> float:
        moved = abs(log2(p.lanes_in / wanted.lanes_in)) + abs(log2(p.lanes_out / wanted.lanes_out))
        return moved + abs((p.products_per_dsp or 0) - (wanted.products_per_dsp or 0)) / 4

    def text(p: Parallelism) -> str:
        products = "" if p.products_per_dsp is None else f" with products_per_dsp {p.products_per_dsp}"
        products += f" and columns {p.columns}" if p.columns > 1 else ""
        products += " with constant" if p.constant else ""
        return f"{p.lanes_in} -> {p.lanes_out}{products}"

    return ", ".join(map(text, sorted(legal, key=distance)[:4])) or "none"


def _only_reshaped(graph: Graph) -> bool:
    return all(node.renames for node in graph.consumers()[graph.input.name])


def _check_boundary(name: str, lanes: int, value: Value, flat: bool, where: str) -> None:
    legal = boundary_options(value, flat=flat)
    if lanes not in legal:
        texts = ", ".join(str(n) for n in legal)
        raise UserError(f"the {name} cannot have {lanes} lanes", where=where, hint=f"one of: {texts}")
