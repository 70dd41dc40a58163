"""Bits of every layer's weights on the engine, from a build folder and a sensitivity table: bits.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut
from toolchain.engine.joint import search_front
from toolchain.engine.precision import Mixed, weight_noise
from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.flow.build import Build
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.options import Search, planned_board

BITS_FILE = "bits.json"


def search_weight_bits(
    build: Build, search: Search, widths: Sequence[int], *, table: Path | None = None, loss: float | None = None
) -> tuple[list[Mixed], float]:
    """The front of frame time and loss for the network of ``build``, or the fastest within ``loss``; writes bits.json.

    Args:
        widths: bits to choose from.
        table: a sensitivity table, JSON of layer, bits, loss; without one, the noise of the rounded weights.

    Returns:
        the front and the clock in MHz.

    Raises:
        UserError: the engine does not run the network; the table is none; nothing fits the board or the loss.
    """
    bad = [bits for bits in widths if not 2 <= bits <= 8]
    if bad or not widths:
        raise UserError(f"weights of {bad[0] if bad else 'no'} bits", hint="give 2 to 8, for example 4,6,8")
    network, board = cut(build.network.graph), planned_board(search, "engine")
    clock = search.clock_mhz or board.clock.default_mhz
    widths = sorted(set(widths))
    losses = weight_noise(network, widths) if table is None else read_sensitivity(table)
    budget = Budget(board.budget, memory_rate(board, clock))
    front = search_front(network, budget, losses, widths, loss=loss, time_limit=search.time_limit)
    rows = [
        {
            "fps": clock * 1e6 / m.cycles,
            "gap": m.gap,
            "loss": m.loss,
            "engine_bits": m.engine.shape.weight_bits,
            "bits": m.bits,
        }
        for m in front
    ]
    table_text = json.dumps({"graph": build.network.digest, "sensitivity": losses, "front": rows}, indent=1)
    write_text(build.folder / BITS_FILE, table_text + "\n")
    return front, clock


def read_sensitivity(path: Path) -> dict[str, dict[int, float]]:
    """A sensitivity table.

    Raises:
        UserError: it is no JSON object of layers, bits and losses of at least 0.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table = {str(layer): {int(b): float(loss) for b, loss in row.items()} for layer, row in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"no sensitivity table: {error}", where=str(path)) from error
    if any(not loss >= 0 for row in table.values() for loss in row.values()):
        raise UserError("a sensitivity table with a negative loss", where=str(path))
    return table
