"""The choice of a build's architecture, and the ways out where nothing fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from toolchain.boards import list_boards
from toolchain.dse.expand import expand
from toolchain.dse.problem import Problem
from toolchain.dse.solve import fits
from toolchain.errors import NoRoom, UserError
from toolchain.flow.architecture import Architecture
from toolchain.flow.clock import clock_steps, rule
from toolchain.flow.engine import Engine
from toolchain.flow.options import Search, planned_board, prepared_board
from toolchain.flow.progress import Progress
from toolchain.flow.rows import told
from toolchain.flow.streaming import Streaming
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import Product
from toolchain.ir.store import Stored
from toolchain.ir.types import QInt
from toolchain.passes.pipeline import hardware_form
from toolchain.resources import Resources

ARCHITECTURES: Mapping[str, type[Architecture]] = {"streaming": Streaming, "engine": Engine}

SECONDS = 10.0
"""Time for each question of what would fit."""


@dataclass(frozen=True)
class Choice:
    """An accelerator, and what the report should say of how it was chosen."""

    design: Architecture
    notes: tuple[str, ...] = ()


def choose(network: Stored, search: Search, progress: Progress, *, advise: bool = True) -> Choice:
    """The accelerator of the architecture that ``search`` names; "auto" is streaming where that is fast enough.

    That is at ``target_fps``, and without one where no engine is faster.

    Args:
        advise: whether a failure is followed by a search for what would do.

    Raises:
        NoRoom: nothing fits, or is so fast; the hint names the architecture, bits or board that would do.
        UserError: the architecture does not run the network, or ``search`` asks for what it does not have.
    """
    found = (_clocked if search.clock_auto else _chosen)(network, search, progress, advise=advise)
    if not search.rows or search.plan is not None:
        return found
    return Choice(found.design, (*found.notes, f"planned by {told(search.rows, found.design.name)}"))


def _chosen(network: Stored, search: Search, progress: Progress, *, advise: bool) -> Choice:
    """``choose`` at one clock."""
    if search.architecture == "engine":
        return Choice(Engine.explore(network, search, progress))
    try:
        found = Streaming.explore(network, search, progress)
    except NoRoom as error:
        if search.architecture == "streaming" or search.plan is not None:
            raise (_helped(error, network, search, progress) if advise else error) from error
        return _engine_instead(network, search, error, progress, advise=advise)
    if search.architecture == "auto" and search.target_fps is None and search.plan is None:
        return _faster(network, search, found)
    return Choice(found)


def _clocked(network: Stored, search: Search, progress: Progress, *, advise: bool) -> Choice:
    """The fastest of what fits at each clock; at a target rate, what meets it at the highest clock.

    Raises:
        NoRoom: nothing fits at any clock.
    """
    best: Choice | None = None
    steps = clock_steps(prepared_board(search))
    for mhz, share in steps:
        last = (mhz, share) == steps[-1]
        step = replace(search, clock_auto=False, clock_mhz=mhz, budget=search.budget | {"lut": share})
        try:
            found = _chosen(network, step, progress, advise=advise and last and best is None)
        except NoRoom:
            if last and best is None:
                raise
            continue
        if best is None or found.design.fps > best.design.fps:
            best = Choice(found.design, (*found.notes, rule(mhz, share)))
        if search.target_fps is not None:
            break
    assert best is not None
    return best


def _faster(network: Stored, search: Search, streaming: Streaming) -> Choice:
    """The engine where it is faster than ``streaming``, and which was taken."""
    rate = streaming.fps
    try:
        engine = Engine.faster(network, search, rate)
    except UserError as error:
        why = _text(error) if error.what.startswith("the engine") else f"engine is impossible: {_text(error)}"
        return Choice(streaming, (f"auto chose streaming, {rate:,.0f} fps; {why}",))
    if engine is None:
        return Choice(streaming, (f"auto chose streaming, {rate:,.0f} fps; no engine is faster",))
    return Choice(engine, (f"auto chose engine, {engine.fps:,.0f} fps; streaming is {rate:,.0f} fps",))


def _engine_instead(network: Stored, search: Search, error: NoRoom, progress: Progress, *, advise: bool) -> Choice:
    """The fastest engine where ``error`` keeps streaming out, and why.

    Raises:
        NoRoom: it is no way out either.
    """
    try:
        engine = Engine.explore(network, replace(search, target_fps=None), progress)
    except UserError as other:
        raise NoRoom(
            f"{error.what}; engine: {_text(other)}",
            where=error.where,
            hint=(_smaller(network.graph, search) if advise and search.target_fps is None else "") or error.hint,
        ) from error
    if search.target_fps is not None and engine.fps < search.target_fps:
        what = f"{error.what}; the engine does {engine.fps:,.0f} fps"
        raise NoRoom(what, where=error.where, hint=error.hint) from error
    return Choice(engine, (f"auto chose engine, {engine.fps:,.0f} fps; streaming is impossible: {error.what}",))


def _text(error: UserError) -> str:
    """The fault and its place, without the hint."""
    return error.what + (f" [{error.where}]" if error.where else "")


def _helped(error: NoRoom, network: Stored, search: Search, progress: Progress) -> NoRoom:
    """``error`` with the ways out that were found: the engine, fewer bits, another board."""
    ways = []
    try:
        fps = Engine.explore(network, replace(search, plan=None, target_fps=None), progress).fps
        if search.target_fps is None or fps >= search.target_fps:
            ways.append(f"--architecture engine runs it at {fps:,.0f} fps")
    except UserError:
        pass
    if search.target_fps is None and (smaller := _smaller(network.graph, search)):
        ways.append(smaller)
    return NoRoom(error.what, where=error.where, hint="; ".join(ways) or error.hint)


def _smaller(graph: Graph, search: Search) -> str:
    """The streaming network that would fit: weights of fewer bits, or another board; "" where neither does."""
    board = planned_board(search, Streaming.name)
    budgets = {name: planned_board(replace(search, board=name), Streaming.name).budget for name in list_boards()}
    problem = _problem(graph, max(budgets.values(), key=lambda budget: budget.uram))
    larger = {name: budget for name, budget in budgets.items() if not budget.fits(board.budget)}
    others = [name for name, budget in larger.items() if fits(problem, budget, SECONDS)]
    ways = [f"it fits the board{'s' if len(others) > 1 else ''} {', '.join(others)}"] if others else []
    widest = max(
        (node.weight_type.bits for node in graph.nodes if isinstance(node, Product)),
        default=1,
    )
    low, high = 0, widest  # ``high`` bits do not fit, ``low`` do, or none
    while high - low > 1:
        middle = (low + high) // 2
        shorter = _problem(_shortened(graph, middle), board.budget)
        low, high = (middle, high) if fits(shorter, board.budget, SECONDS) else (low, middle)
    if low:
        ways.insert(0, f"weights of {low} bit{'s' if low > 1 else ''} fit")
    return "; ".join(ways)


def _shortened(graph: Graph, bits: int) -> Graph:
    """``graph`` with its weights cut to ``bits`` bits: another network, of the size that one trained so would have."""

    def cut(node: Node) -> Node:
        if not isinstance(node, Product) or node.weight_type.bits <= bits:
            return node
        kind = QInt(max(bits, 2), node.weight_type.signed)
        if bits == 1:
            return replace(node, weight=np.where(node.weight < 0, -1, 1), weight_type=kind)
        return replace(node, weight=node.weight >> node.weight_type.bits - bits, weight_type=kind)

    return rewrite_nodes(graph, cut)


def _problem(graph: Graph, budget: Resources) -> Problem:
    return expand(hardware_form(graph), ultra=budget.uram > 0)
