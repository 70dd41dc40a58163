"""Bits of every layer's weights on the engine, from a build folder and a sensitivity table: bits.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut
from toolchain.engine.joint import search_front
from toolchain.engine.precision import Mixed, weight_noise
from toolchain.flow.build import Build
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.options import Search, planned_board
from toolchain.flow.sensitivity import checked_widths, measured, write_bits

NOISE = "noise of rounded weights"


def search_weight_bits(
    build: Build,
    search: Search,
    widths: Sequence[int],
    *,
    table: Path | None = None,
    images: Path | None = None,
    loss: float | None = None,
) -> tuple[list[Mixed], float]:
    """The front of frame time and loss for the network of ``build``, or the fastest within ``loss``; writes bits.json.

    Args:
        widths: bits to choose from.
        table: a sensitivity table, JSON of layer, bits, loss.
        images: without a table, .npy of which 256 images tell what each layer's bits change of the outputs. Without
            images 64 of the data that the network was trained on do; without those, the losses are the noise of the
            rounded weights.

    Returns:
        the front and the clock in MHz.

    Raises:
        UserError: the engine does not run the network; the table is none; nothing fits the board or the loss.
    """
    widths = checked_widths(widths)
    network, board = cut(build.network.graph), planned_board(search, "engine")
    clock = search.clock_mhz or board.clock.default_mhz
    losses, told = measured(build, widths, table, images) or (weight_noise(network, widths), NOISE)
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
    write_bits(build, told, losses, rows)
    return front, clock
