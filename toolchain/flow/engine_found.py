"""An engine as its record tells it (engine.json), with the memory image and the cycles that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import Field

from toolchain.boards import Board, load_board
from toolchain.engine.cut import cut
from toolchain.engine.layers import narrowed
from toolchain.engine.schedule import UNITS
from toolchain.engine.search import Engine as Result
from toolchain.engine.shape import shape_facts, shape_of
from toolchain.engine.tables import Program, program
from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.store import Stored
from toolchain.records import Mhz, Record


class EngineRecord(Record):
    """engine.json: the engine found, where its maps lie, and the proof. ``cycles`` and ``bound`` are a frame's.

    ``budget`` has the shares of the device that were asked for in place of the board's.
    """

    graph: str
    board: str
    clock_mhz: Mhz
    shape: dict[str, int]
    placement: dict[str, int]
    cycles: float
    bound: float
    seconds: float
    solver: str
    budget: dict[str, float] = Field(default_factory=dict)

    @property
    def gap(self) -> float:
        """Relative distance of ``cycles`` to the bound."""
        return max(0.0, (self.cycles - self.bound) / self.cycles)

    @property
    def status(self) -> str:
        """ "optimal", or "feasible" where the bound is lower."""
        return "optimal" if self.gap < 1e-9 else "feasible"


def record_of(
    found: Result, network: Stored, board: str, clock_mhz: float, budget: Mapping[str, float]
) -> EngineRecord:
    """The record of what the search found for ``network``; ``budget`` as `EngineRecord` has it."""
    return EngineRecord(
        graph=network.digest,
        board=board,
        clock_mhz=clock_mhz,
        shape=shape_facts(found.shape),
        placement=found.placement,
        cycles=found.cycles,
        bound=found.bound,
        seconds=found.seconds,
        solver="highs",
        budget=dict(budget),
    )


@dataclass(frozen=True)
class Found:
    """An engine for ``graph``."""

    graph: Graph
    record: EngineRecord

    @cached_property
    def board(self) -> Board:
        """The board it was found for."""
        return load_board(self.record.board)

    @cached_property
    def program(self) -> Program:
        """The passes that it runs."""
        shape = shape_of(self.record.shape)
        if shape is None:
            hint = "run 'fpgaflow export --architecture engine' again"
            raise UserError("engine.json is of another version of fpgaflow", hint=hint)
        return program(narrowed(cut(self.graph), shape.weight_bits), shape, self.record.placement)

    @property
    def bytes_per_cycle(self) -> float:
        """The memory's rate."""
        return memory_rate(self.board, self.record.clock_mhz)

    def unit_cycles(self) -> dict[str, int]:
        """Cycles of a frame by unit, by the schedules."""
        found, schedules = {}, self.program.schedules
        first = schedules[0].weight_words(0) * self.program.shape.weight_beats  # the entry that loads the first weights
        for name in UNITS:
            cycles = sum(s.cycles(self.program.following(i))[name] for i, s in enumerate(schedules))
            found[name] = cycles + (first if name == "convolve" else 0)
        return found


def memory_rate(board: Board, clock_mhz: float) -> float:
    """Bytes a clock cycle between the board's memory and the fabric.

    Raises:
        UserError: the board's file does not tell what its memory keeps up.
    """
    rate = board.memory.sustained_bytes_per_second
    if rate is None:
        raise UserError(
            f"the board {board.name} has no memory.sustained_bytes_per_second, which the engine needs",
            hint="add it to its board.toml",
        )
    ports = board.memory.ports * board.memory.port_bits / 8
    return min(rate / (clock_mhz * 1e6), ports)
