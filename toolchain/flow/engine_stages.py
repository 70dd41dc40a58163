"""The stages of an engine build: engine.json in place of plan.json, hls/ with the memory image, the same reports."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.boards import Board, load_board
from toolchain.engine.candidates import Budget
from toolchain.engine.csim import COUNTERS, EngineSim
from toolchain.engine.cut import cut, refusals
from toolchain.engine.drive import drive_passes
from toolchain.engine.generate import generate as generate_files
from toolchain.engine.generate import synthesis_script
from toolchain.engine.layers import Cut, narrowed
from toolchain.engine.precision import engine_widths
from toolchain.engine.search import Engine, search_below
from toolchain.engine.search import search as find_engine
from toolchain.engine.shape import Shape
from toolchain.engine.tables import Program, program
from toolchain.errors import UserError
from toolchain.files import replace_folder, write_files
from toolchain.flow.build import Progress, Simulated
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.options import Check, Search, prepared_board
from toolchain.flow.records import ModelRecord, read_record, write_record
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.live import frame_bytes
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.store import load, stored_digest
from toolchain.ir.types import Array, InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.memory import spans
from toolchain.records import Record

ENGINE_FILE = "engine.json"

FRAMES_A_THREAD = 8
"""Frames that a thread simulates before they are compared."""


class EngineRecord(Record):
    """engine.json: the engine found, where its maps lie, and the proof. ``cycles`` and ``bound`` are a frame's."""

    graph: str
    board: str
    clock_mhz: float
    shape: dict[str, int]
    placement: dict[str, int]
    cycles: float
    bound: float
    seconds: float
    solver: str


@dataclass(frozen=True)
class Build:
    """An engine build as its files tell it."""

    graph: Graph
    record: EngineRecord
    program: Program
    board: Board

    @property
    def bytes_per_cycle(self) -> float:
        """The memory's rate."""
        return memory_rate(self.board, self.record.clock_mhz)


def is_engine(folder: Path) -> bool:
    """Whether ``folder`` holds an engine build."""
    return (folder / ENGINE_FILE).is_file()


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


def explore(folder: Path, search: Search) -> EngineRecord:
    """Write engine.json: the fastest engine for the graph in ``folder``.

    Raises:
        UserError: no engine runs the network or fits the board; or the search asks for what engines do not have.
    """
    if search.plan is not None or search.target_fps is not None:
        raise UserError("an engine takes no --plan and no --target-fps", hint="it is always the fastest that fits")
    network, budget, clock = _task(folder, search)
    widest, *narrower = engine_widths(network)
    found = find_engine(narrowed(network, widest), budget, time_limit=search.time_limit)
    for bits in narrower:
        found = search_below(found.cycles, narrowed(network, bits), budget, time_limit=search.time_limit) or found
    return _written(folder, search, found, clock)


def explore_faster(folder: Path, search: Search, fps: float) -> EngineRecord | None:
    """Write engine.json where an engine does more than ``fps`` frames a second; None where none does.

    Raises:
        UserError: no engine runs the network.
    """
    network, budget, clock = _task(folder, search)
    cycles, found = clock * 1e6 / fps, None
    for bits in engine_widths(network):
        found = search_below(cycles, narrowed(network, bits), budget, time_limit=search.time_limit) or found
        cycles = cycles if found is None else found.cycles
    return None if found is None else _written(folder, search, found, clock)


def _task(folder: Path, search: Search) -> tuple[Cut, Budget, float]:
    """The passes of the graph in ``folder``, what an engine for them may take, and its clock in MHz."""
    board = prepared_board(search)
    clock = search.clock_mhz or board.clock.default_mhz
    return cut(load(folder)), Budget(board.budget, memory_rate(board, clock)), clock


def _written(folder: Path, search: Search, found: Engine, clock: float) -> EngineRecord:
    record = EngineRecord(
        graph=stored_digest(folder),
        board=search.board,
        clock_mhz=clock,
        shape={name: int(value) for name, value in asdict(found.shape).items()},
        placement=found.placement,
        cycles=found.cycles,
        bound=found.bound,
        seconds=found.seconds,
        solver="highs",
    )
    write_record(record, folder / ENGINE_FILE)
    return record


def refusals_of(model: Path, given: InputType | None = None) -> list[str]:
    """What the engine cannot run of the QONNX file ``model``, whose input is ``given``: every node and why."""
    file = read_qonnx(model)
    encoding, _ = chosen_encoding(file, given)
    return [f"{where}: {why}" for where, why in refusals(to_integer(file.graph, encoding))]


def load_build(folder: Path) -> Build:
    """The engine build in ``folder``.

    Raises:
        UserError: a file is missing, or the engine was made for another graph.
    """
    record, graph = read_record(EngineRecord, folder / ENGINE_FILE), load(folder)
    if record.graph != stored_digest(folder):
        raise UserError(f"{ENGINE_FILE} was made for another graph", where=str(folder), hint="run the export again")
    facts: dict[str, Any] = record.shape | {name: bool(record.shape[name]) for name in ("filters", "pools")}
    shape = Shape(**facts)
    network = narrowed(cut(graph), shape.weight_bits)
    return Build(graph, record, program(network, shape, record.placement), load_board(record.board))


def generate(folder: Path) -> Path:
    """Write hls/: the sources of the engine, the script that synthesizes them, and the network's memory image."""
    build = load_build(folder)
    target = folder / "hls"
    files: dict[str, str | bytes] = {**generate_files(build.program.shape, len(build.program.memory))}
    files["run_hls.tcl"] = synthesis_script(build.board.part, build.record.clock_mhz)
    files["memory.bin"] = build.program.memory.tobytes()
    with replace_folder(target) as partial:
        write_files(files, partial)
    return target


def simulate(folder: Path, images: Array, check: Check, progress: Progress) -> Simulated:
    """Drive every pass, then run the engine on ``images`` (N, H, W, C), and compare with the integer network."""
    build = load_build(folder)
    graph, output = build.graph, answer_name(build.graph)
    simulation = EngineSim(graph, build.program)
    frame = simulation.frame_bytes + frame_bytes(graph)
    threads = check.memory.frames(frame, "the engine's C simulation", check.threads)
    driven = drive_passes(simulation, threads=threads)
    wrong, seconds, cycles, classes = 0, 0.0, Counter[str](), []
    for part in spans(len(images), threads * FRAMES_A_THREAD):
        codes = encode(graph, images[part])
        started = time.monotonic()
        run = simulation.run(codes, threads=threads)
        seconds += time.monotonic() - started
        cycles.update(dict(zip(COUNTERS, (run.counts.sum(axis=0) * len(codes)).tolist(), strict=True)))
        for i in range(len(codes)):
            expected = evaluate(graph, codes[i : i + 1], taps=[output])[output]
            wrong += int((expected[0] != run.codes[i]).sum())
        answers = run.codes if output == graph.output else run.codes.argmax(axis=3)[..., None]
        classes.append(predictions(graph, answers))
        progress("simulate", part.stop, len(images))
    where = driven.deviation or (f"the answer of {output}" if wrong else None)
    return Simulated(np.concatenate(classes), seconds, wrong, where, dict(cycles), len(images), driven)


def answer_name(graph: Graph) -> str:
    """The value that the engine answers with: an index of the largest is left to the host."""
    last = graph.nodes[-1]
    return last.inputs[0] if isinstance(last, ArgMax) else graph.output


def note(folder: Path, text: str) -> None:
    """Add a note to the build's report."""
    record = read_record(ModelRecord, folder / "model.json")
    write_record(record.model_copy(update={"notes": [*record.notes, text]}), folder / "model.json")
