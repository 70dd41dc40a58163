"""One network on several boards: the fastest accelerator on each, estimated or built, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.boards import Board, short_name
from toolchain.errors import NoRoom, UserError
from toolchain.flow.architecture import Architecture
from toolchain.flow.build import Build
from toolchain.flow.choice import choose
from toolchain.flow.options import Check, Search, prepared_board
from toolchain.flow.progress import Progress
from toolchain.flow.stages import export
from toolchain.ir.store import Stored
from toolchain.resources import Resources


@dataclass(frozen=True)
class OnBoard:
    """The accelerator's rate and ``cost``, the shell not included; ``status`` of its plan, or what keeps it out.

    ``architecture`` is the accelerator's, or the one that was asked for where there is none. The budget of ``board`` is
    that of the search.
    """

    board: Board
    clock_mhz: float
    architecture: str
    fps: float | None
    cost: Resources | None
    status: str


def on_boards(
    lowered: Callable[[Board], Stored], search: Search, names: Sequence[str], progress: Progress
) -> list[OnBoard]:
    """The accelerators found by ``search`` on the boards ``names``, each at its own clock unless ``search`` states one.

    ``lowered`` gives the integer network for a board.

    Raises:
        UserError: a board is unknown.
    """

    def find(here: Search) -> Architecture:
        return choose(lowered(prepared_board(here)), here, _untold, advise=False).design

    return _on_each(search, names, find, progress)


def export_on_boards(
    model: Path, out: Path, search: Search, check: Check, names: Sequence[str], progress: Progress, **options: Any
) -> list[OnBoard]:
    """A verified build of ``model`` on each of the boards ``names``: in ``out`` a folder of the board's short name.

    A board on which nothing fits gets no folder; what stood there stays. ``options`` are those of
    `toolchain.flow.stages.export`, and so are the errors.

    Raises:
        UserError: ``out`` is a build itself, or nothing fits any of the boards.
    """
    if (out / "model.json").is_file():
        raise UserError(f"{out} is a build, and builds for several boards stand in it", hint="give another --out")

    def make(here: Search) -> Architecture:
        folder = out / short_name(prepared_board(here).name)
        export(model, folder, here, check, progress=_untold, **options)
        return Build(folder).design

    found = _on_each(search, names, make, progress)
    if all(entry.fps is None for entry in found):
        largest = max(found, key=lambda entry: entry.board.device.lut)
        raise NoRoom(f"no board has room; {short_name(largest.board.name)}: {largest.status}", hint="use fewer bits")
    return found


def _on_each(
    search: Search, names: Sequence[str], find: Callable[[Search], Architecture], progress: Progress
) -> list[OnBoard]:
    """The results of ``find`` on each of the boards."""
    found = []
    for name in names:
        here = replace(search, board=name)
        board = prepared_board(here)
        progress(short_name(board.name), 0, 1)
        try:
            design = find(here)
            entry = OnBoard(board, design.clock_mhz, design.name, design.fps, design.resources, design.proof)
        except NoRoom as error:
            clock = search.clock_mhz or board.clock.default_mhz
            entry = OnBoard(board, clock, search.architecture, None, None, error.what)
        progress(short_name(board.name), 1, 1)
        found.append(entry)
    return found


def _untold(what: str, done: int, total: int) -> None:
    """The steps on one board are not told."""
