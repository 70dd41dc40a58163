"""One network on every board: its fastest accelerator there, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolchain.boards import Board, load_board
from toolchain.errors import NoRoom
from toolchain.flow.choice import choose
from toolchain.flow.options import Search
from toolchain.flow.progress import Progress
from toolchain.ir.store import Stored
from toolchain.resources import Resources


@dataclass(frozen=True)
class OnBoard:
    """The accelerator's rate and ``cost``, the shell not included; ``status`` of its plan, or what keeps it out.

    ``architecture`` is the accelerator's, or the one that was asked for where there is none.
    """

    board: Board
    clock_mhz: float
    architecture: str
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
            design = choose(lowered(board.lut_per_dsp), replace(search, board=name), _untold, advise=False).design
        except NoRoom as error:
            found.append(OnBoard(board, clock, search.architecture, None, None, error.what))
            continue
        found.append(OnBoard(board, design.clock_mhz, design.name, design.fps, design.resources, design.proof))
    progress("boards", len(names), len(names))
    return found


def _untold(what: str, done: int, total: int) -> None:
    """The steps of one board's search are not told."""
