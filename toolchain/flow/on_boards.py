"""One network on every board: its fastest streaming accelerator there, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolchain.boards import Board, load_board
from toolchain.errors import NoRoom
from toolchain.flow.options import Search
from toolchain.flow.progress import Progress
from toolchain.flow.streaming import Streaming
from toolchain.ir.store import Stored
from toolchain.resources import Resources
from toolchain.units.totals import graph_cost


@dataclass(frozen=True)
class OnBoard:
    """The accelerator's rate and ``cost``, the shell not included; ``status`` of its plan, or what keeps it out."""

    board: Board
    clock_mhz: float
    fps: float | None
    cost: Resources | None
    status: str


def on_boards(
    lowered: Callable[[int], Stored], search: Search, names: Sequence[str], progress: Progress
) -> list[OnBoard]:
    """What ``search`` finds on each of the boards ``names``, each at its own clock unless ``search`` states one.

    ``lowered`` gives the integer network where a DSP slice is worth so many LUTs.

    Raises:
        UserError: a board is unknown.
    """
    found = []
    for done, name in enumerate(names):
        progress("boards", done, len(names))
        board = load_board(name)
        clock = search.clock_mhz or board.clock.default_mhz
        try:
            design = Streaming.explore(
                lowered(board.lut_per_dsp), replace(search, board=name, architecture="streaming"), _untold
            )
        except NoRoom as error:
            found.append(OnBoard(board, clock, None, None, error.what))
            continue
        solver = design.plan.solver
        status = "given" if solver is None else solver.status
        found.append(OnBoard(board, clock, design.fps, graph_cost(design.hardware), status))
    progress("boards", len(names), len(names))
    return found


def _untold(what: str, done: int, total: int) -> None:
    """The steps of one board's search are not told."""
