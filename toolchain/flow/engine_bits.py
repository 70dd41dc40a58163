"""Bits of every layer's weights on the engine, from a build folder and a sensitivity table: bits.json."""

from __future__ import annotations

from toolchain.engine.candidates import Budget
from toolchain.engine.cut import cut
from toolchain.engine.joint import search_front
from toolchain.engine.precision import Mixed, weight_noise
from toolchain.flow.build import Build
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.options import Search, planned_board
from toolchain.flow.sensitivity import Asked, write_bits

NOISE = "noise of rounded weights"


def search_weight_bits(build: Build, search: Search, asked: Asked) -> tuple[list[Mixed], float]:
    """Find the front of frame time and loss for the network of ``build`` on the engine; write bits.json.

    Where no data is at hand, losses are the noise of the rounded weights.

    Returns:
        the front, or the fastest within the loss that is ``asked`` for, and the clock in MHz.

    Raises:
        UserError: the engine does not run the network; the table is none; nothing fits the board or the loss.
    """
    network, board = cut(build.network.graph), planned_board(search, "engine")
    clock = search.clock_mhz or board.clock.default_mhz
    losses, told = asked.losses(build) or (weight_noise(network, asked.widths), NOISE)
    budget = Budget(board.budget, memory_rate(board, clock))
    front = search_front(network, budget, losses, asked.widths, loss=asked.loss, time_limit=search.time_limit)
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
