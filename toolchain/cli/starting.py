"""Commands of the first hour: init."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from toolchain.cli.options import boards_like
from toolchain.errors import Interrupted, UserError
from toolchain.terminal import console

if TYPE_CHECKING:
    from toolchain.flow.starter import Wishes

T = TypeVar("T")


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of the project.")] = Path(),
    data: Annotated[
        str | None,
        typer.Option(help="digits, mnist, fashion-mnist, cifar10, folder:PATH, or npy:, csv:, parquet:PREFIX."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Network that fits the data, or FILE.py:NAME.")] = None,
    weights: Annotated[int | None, typer.Option(min=1, max=8, help="Bits of the weights.")] = None,
    acts: Annotated[int | None, typer.Option(min=1, max=8, help="Bits of the activations.")] = None,
    board: Annotated[str | None, typer.Option(help="Board, see 'fpgaflow boards'.", autocompletion=boards_like)] = None,
    target_fps: Annotated[
        float | None, typer.Option(min=1e-3, help="Frames a second to reach; the most without.")
    ] = None,
) -> None:
    """Write run.toml, and a GitHub workflow that trains, exports and verifies it; asks in a terminal."""
    from toolchain.flow.starter import CI_FILE, RUN_FILE, demand_new, start

    demand_new(folder)
    wishes = _wishes(data, model, weights, acts, board, target_fps)
    start(folder, wishes)
    console().print(f"Run file: {folder / RUN_FILE}", soft_wrap=True)
    console().print(f"Workflow: {folder / CI_FILE}", soft_wrap=True)
    inside = "" if folder == Path() else f", in {folder}"
    console().print(f"Next{inside}: fpgaflow train {RUN_FILE}; then: {wishes.export}", soft_wrap=True)


def _wishes(
    data: str | None,
    model: str | None,
    weights: int | None,
    acts: int | None,
    board: str | None,
    target_fps: float | None,
) -> Wishes:
    """Return the wishes that are given; the rest by questions in a terminal, and as usual elsewhere."""
    from toolchain.boards import list_boards
    from toolchain.flow.starter import SOURCES, Wishes, check_board, check_model, source_of

    if target_fps == inf:  # which the type of the option lets pass
        raise UserError("--target-fps inf", hint="give a number; without it there are as many as fit")
    ask = _questions() if sys.stdin.isatty() and sys.stdout.isatty() else lambda _, usual, __: usual
    usual = Wishes()

    def known(text: str) -> str:
        source_of(text)
        return text

    data = data or ask(f"Data ({', '.join(SOURCES)})", usual.data, known)
    models = source_of(data).models
    model = model or ask(f"Network ({', '.join(models)}, or FILE.py:NAME)", models[0], lambda m: check_model(m, data))
    weights = weights or ask("Bits of the weights (1 to 8)", usual.weights, _bits)
    acts = acts or ask("Bits of the activations (1 to 8)", usual.acts, _bits)
    board = board or ask(f"Board ({', '.join(list_boards())})", usual.board, check_board)
    target_fps = target_fps or ask("Frames a second (most: as many as fit)", None, _rate)
    return Wishes(data, model, weights, acts, board, target_fps)


def _questions() -> Callable[[str, T, Callable[[str], T]], T]:
    """A question, the usual answer, and what reads an answer: asks until it can be read."""

    def ask(question: str, usual: T, read: Callable[[str], T]) -> T:
        def answer(text: str) -> T:
            try:
                return read(text.strip())
            except UserError as error:
                raise typer.BadParameter(str(error)) from error

        try:
            found: T = typer.prompt(question, default="most" if usual is None else str(usual), value_proc=answer)
        except typer.Abort:
            raise Interrupted("interrupted; nothing is written") from None
        return found

    return ask


def _bits(text: str) -> int:
    if text not in tuple("12345678"):
        raise UserError(f"{text} bits", hint="give 1 to 8")
    return int(text)


def _rate(text: str) -> float | None:
    if text == "most":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 1e-3 <= rate < float("inf"):
        raise UserError(f"{text} frames a second", hint="give a number, or: most")
    return rate
