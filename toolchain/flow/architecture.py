"""Which architecture a build gets, and what would do where nothing fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from toolchain.boards import list_boards, load_board
from toolchain.dse.expand import expand
from toolchain.dse.problem import Problem
from toolchain.dse.solve import fits
from toolchain.errors import NoRoom, UserError
from toolchain.flow import engine_stages
from toolchain.flow.options import Search, prepared_board
from toolchain.ir.graph import Graph, rewrite_nodes
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import Product
from toolchain.ir.store import load
from toolchain.ir.types import QInt
from toolchain.passes.pipeline import hardware_form

SECONDS = 10.0
"""Time for each question of what would fit."""


def choose(folder: Path, search: Search, streaming: Callable[[], float]) -> None:
    """Keep the architecture of ``search`` for the graph in ``folder``: plan.json or engine.json.

    ``streaming`` writes plan.json and returns its frames per second. "auto" keeps it where it is fast enough: at
    ``target_fps``, without one where no engine is faster.

    Raises:
        NoRoom: nothing fits, or is so fast; the hint names the architecture, bits or board that would do.
    """
    if search.architecture == "engine":
        engine_stages.explore(folder, search)
        return
    try:
        rate = streaming()
    except NoRoom as error:
        if search.architecture == "streaming" or search.plan is not None:
            raise _helped(error, folder, search) from error
        _keep_engine(folder, search, error)
        return
    if search.architecture == "auto" and search.target_fps is None and search.plan is None:
        _compare(folder, search, rate)


def _compare(folder: Path, search: Search, rate: float) -> None:
    """Keep the engine where it is faster than the streaming plan, and note which was taken."""
    try:
        record = engine_stages.explore_faster(folder, search, rate)
    except UserError as error:
        engine_stages.note(folder, f"auto chose streaming, {rate:.0f} fps; engine is impossible: {_text(error)}")
        return
    if record is None:
        engine_stages.note(folder, f"auto chose streaming, {rate:.0f} fps; no engine is faster")
        return
    (folder / "plan.json").unlink()
    fps = record.clock_mhz * 1e6 / record.cycles
    engine_stages.note(folder, f"auto chose engine, {fps:.0f} fps; streaming is {rate:.0f} fps")


def _keep_engine(folder: Path, search: Search, error: NoRoom) -> None:
    """Keep the fastest engine where ``error`` keeps streaming out, and note why.

    Raises:
        NoRoom: it is no way out either.
    """
    try:
        record = engine_stages.explore(folder, replace(search, target_fps=None))
    except UserError as other:
        raise NoRoom(
            f"{error.what}; engine: {_text(other)}",
            where=error.where,
            hint=_smaller(folder, search) or error.hint,
        ) from error
    fps = record.clock_mhz * 1e6 / record.cycles
    if search.target_fps is not None and fps < search.target_fps:
        (folder / engine_stages.ENGINE_FILE).unlink()
        raise NoRoom(f"{error.what}; the engine does {fps:.0f} fps", where=error.where, hint=error.hint) from error
    engine_stages.note(folder, f"auto chose engine, {fps:.0f} fps; streaming is impossible: {error.what}")


def _text(error: UserError) -> str:
    """What is wrong and where, without what helps."""
    return error.what + (f" [{error.where}]" if error.where else "")


def _helped(error: NoRoom, folder: Path, search: Search) -> NoRoom:
    """``error`` with the ways out that were found: the engine, fewer bits, another board."""
    ways = []
    try:
        record = engine_stages.explore(folder, replace(search, plan=None, target_fps=None))
        (folder / engine_stages.ENGINE_FILE).unlink()
        fps = record.clock_mhz * 1e6 / record.cycles
        if search.target_fps is None or fps >= search.target_fps:
            ways.append(f"--architecture engine runs it at {fps:.0f} fps")
    except UserError:
        pass
    if search.target_fps is None and (smaller := _smaller(folder, search)):
        ways.append(smaller)
    return NoRoom(error.what, where=error.where, hint="; ".join(ways) or error.hint)


def _smaller(folder: Path, search: Search) -> str:
    """What of the streaming network would fit: weights of fewer bits, or another board; "" where neither does."""
    graph, board = load(folder), prepared_board(search)
    problem = _problem(graph)
    others = [name for name in list_boards() if name != board.name and fits(problem, load_board(name).budget, SECONDS)]
    ways = [f"it fits the board{'s' if len(others) > 1 else ''} {', '.join(others)}"] if others else []
    widest = max(
        (node.weight_type.bits for node in graph.nodes if isinstance(node, Product)),
        default=1,
    )
    low, high = 0, widest  # ``high`` bits do not fit, ``low`` do, or none
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if fits(_problem(_shortened(graph, middle)), board.budget, SECONDS) else (low, middle)
        )
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


def _problem(graph: Graph) -> Problem:
    return expand(hardware_form(graph))
