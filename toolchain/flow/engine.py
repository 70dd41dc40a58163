"""The engine architecture: all layers on one accelerator, pass by pass (engine.json)."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from toolchain.engine.candidates import Budget
from toolchain.engine.cost import engine_cost
from toolchain.engine.csim import COUNTERS, EngineSim
from toolchain.engine.cut import cut, refusals
from toolchain.engine.drive import drive_passes
from toolchain.engine.hosts import answer_names
from toolchain.engine.layers import Cut, narrowed
from toolchain.engine.precision import engine_widths, fastest
from toolchain.engine.project import MEMORY, project
from toolchain.engine.search import Engine as Result
from toolchain.engine.search import search_below
from toolchain.engine.tables import Program
from toolchain.errors import UserError
from toolchain.files import digest_bytes
from toolchain.flow.architecture import Simulated
from toolchain.flow.coverage import mapped_file
from toolchain.flow.engine_found import EngineRecord, Found, memory_rate, record_of
from toolchain.flow.engine_report import make_report
from toolchain.flow.images import Images
from toolchain.flow.inputs import chosen_encoding
from toolchain.flow.options import Check, Search, planned_board, prepared_board
from toolchain.flow.progress import Progress
from toolchain.flow.records import ModelRecord, SimulationRecord, read_record, record_text
from toolchain.flow.streaming import texts
from toolchain.ir.encode import encode, predictions
from toolchain.ir.evaluate import evaluate
from toolchain.ir.live import frame_bytes
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.store import Stored
from toolchain.ir.types import Array, InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.memory import spans
from toolchain.report.data import Report
from toolchain.resources import Resources

FRAMES_A_THREAD = 8
"""Frames that a thread simulates before they are compared."""


@dataclass(frozen=True)
class Engine:
    """An engine for a network; see ``Architecture``."""

    name: ClassVar[str] = "engine"
    file: ClassVar[str] = "engine.json"

    network: Stored
    found: Found

    @property
    def digest(self) -> str:
        """The sha256 of the network, the engine, the maps' places and the board, not of the search."""
        facts = self.found.record.model_dump(include={"board", "clock_mhz", "shape", "placement"})
        return digest_bytes(json.dumps([self.network.digest, facts, self.found.board.facts], sort_keys=True).encode())

    @property
    def fps(self) -> float:
        """Frames a second by the schedules."""
        return self.found.record.clock_mhz * 1e6 / self.found.record.cycles

    @property
    def board(self) -> str:
        """The record's board."""
        return self.found.record.board

    @property
    def clock_mhz(self) -> float:
        """The record's clock."""
        return self.found.record.clock_mhz

    @property
    def resources(self) -> Resources:
        """The whole engine."""
        return engine_cost(self.found.program.shape)

    @property
    def proof(self) -> str:
        """The status of its program."""
        return self.found.record.status

    @classmethod
    def explore(cls, network: Stored, search: Search, progress: Progress) -> Engine:
        """The fastest engine.

        Raises:
            UserError: no engine runs the network or fits the board; or ``search`` asks for what engines do not have.
        """
        if search.plan is not None or search.target_fps is not None:
            raise UserError("an engine takes no --plan and no --target-fps", hint="it is always the fastest that fits")
        progress("explore", 0, 1)
        passes, budget, clock = _task(network, search)
        found = fastest(passes, budget, time_limit=search.time_limit)
        progress("explore", 1, 1)
        return cls(network, _found(found, network, search, clock))

    @classmethod
    def faster(cls, network: Stored, search: Search, fps: float) -> Engine | None:
        """An engine of more than ``fps`` frames a second, the fastest; None where there is none.

        Raises:
            UserError: no engine runs the network.
        """
        passes, budget, clock = _task(network, search)
        cycles, found = clock * 1e6 / fps, None
        for bits in engine_widths(passes):
            found = search_below(cycles, narrowed(passes, bits), budget, time_limit=search.time_limit) or found
            cycles = cycles if found is None else found.cycles
        return None if found is None else cls(network, _found(found, network, search, clock))

    @classmethod
    def read(cls, network: Stored, folder: Path, *, by_hand: bool) -> Engine:
        """The engine in ``folder``.

        Raises:
            UserError: the file is missing or damaged, not as the search wrote it, or of another network.
        """
        hint = "run 'fpgaflow export --architecture engine' again"
        record = read_record(EngineRecord, folder / cls.file, hint)
        if record.graph != network.digest:
            raise UserError("engine.json was made for another graph", where=str(folder), hint=hint)
        if by_hand:
            raise UserError("engine.json is not as the search wrote it", where=str(folder), hint=hint)
        return cls(network, Found(network.graph, record))

    def text(self) -> str:
        """The record as JSON."""
        return record_text(self.found.record)

    def generate(self) -> dict[str, str | bytes]:
        """The engine's project with the network's memory image."""
        return project(self.network.graph, self.found.program, self.found.board, self.found.record.clock_mhz)

    def simulate(self, files: Mapping[str, bytes], images: Images, check: Check, progress: Progress) -> Simulated:
        """Drive every pass, then run the engine on the images."""
        graph, names = self.network.graph, answer_names(self.network.graph)
        progress("compile", 0, 1)
        simulation = self.simulation(files)
        progress("compile", 1, 1)
        frame = simulation.frame_bytes + frame_bytes(graph)
        threads = check.memory.frames(frame, "the engine's C simulation", check.threads)
        driven = drive_passes(simulation, threads=threads)
        seconds, cycles, classes = 0.0, Counter[str](), [np.zeros(0, dtype=np.int64)]
        wrong = dict.fromkeys(names, 0)
        for part in spans(len(images.x), threads * FRAMES_A_THREAD):
            codes = encode(graph, images.x[part])
            started = time.monotonic()
            run = simulation.run(codes, threads=threads)
            seconds += time.monotonic() - started
            cycles.update(dict(zip(COUNTERS, (run.counts.sum(axis=0) * len(codes)).tolist(), strict=True)))
            for i in range(len(codes)):
                expected = evaluate(graph, codes[i : i + 1], taps=names)
                for name, answer in zip(names, run.answers, strict=True):
                    wrong[name] += int((expected[name][0] != answer[i]).sum())
            classes.append(self._classes(run.answers))
            progress("simulate", part.stop, len(images.x))
        where = driven.deviation or next((f"the answer of {name}" for name, count in wrong.items() if count), None)
        where = where or self._wrong_pace(cycles, len(images.x))
        mismatches = sum(wrong.values())
        return Simulated(np.concatenate(classes), seconds, mismatches, where, dict(cycles), len(images.x), driven)

    def _classes(self, answers: Sequence[Array]) -> Array:
        """Class (N,) of each frame, none where no output tells it."""
        graph = self.network.graph
        makers = graph.producers()
        for output, answer in zip(graph.outputs, answers, strict=True):
            if output == graph.classifier:
                last = makers.get(output.value)
                return predictions(output, last.evaluate(answer) if isinstance(last, ArgMax) else answer)
        return np.zeros(0, dtype=np.int64)

    def simulation(self, files: Mapping[str, bytes]) -> EngineSim:
        """The compiled project ``files`` with its memory image."""
        sources = {path: content for path, content in files.items() if path.startswith(("src/", "include/"))}
        found = _with_memory(self.found.program, files.get(MEMORY, b""))
        return EngineSim(self.network.graph, found, texts(sources))

    def _wrong_pace(self, counted: Mapping[str, int], frames: int) -> str | None:
        """The first unit whose ``counted`` cycles are not those of its schedules."""
        for name, cycles in self.found.unit_cycles().items():
            if counted[name] != frames * cycles:
                took = f"unit '{name}' took {counted[name]:,} cycles for {frames} images"
                return f"{took}, the model says {frames * cycles:,}"
        return None

    def report(self, model: ModelRecord, simulation: SimulationRecord) -> Report:
        """The facts of the build."""
        return make_report(self.found, model, simulation, self.network.digest)


def refusals_of(model: Path, given: InputType | None = None) -> list[str]:
    """The nodes of the QONNX file ``model``, whose input is ``given``, that the engine cannot run, and why."""
    file, stated = mapped_file(model, given)
    encoding, _ = chosen_encoding(file, stated)
    return [f"{where}: {why}" for where, why in refusals(to_integer(file.graph, encoding))]


def _task(network: Stored, search: Search) -> tuple[Cut, Budget, float]:
    """The passes of ``network``, what an engine for them may take, and its clock in MHz."""
    board = planned_board(search, Engine.name)
    clock = search.clock_mhz or board.clock.default_mhz
    return cut(network.graph), Budget(board.budget, memory_rate(board, clock)), clock


def _found(found: Result, network: Stored, search: Search, clock: float) -> Found:
    """The engine that ``search`` found for ``network``."""
    return Found(network.graph, record_of(found, network, prepared_board(search).name, clock, search.budget))


def _with_memory(found: Program, content: bytes) -> Program:
    """``found`` with the memory image that a project holds.

    Raises:
        UserError: it is of another size.
    """
    if len(content) != found.memory.nbytes:
        raise UserError(f"{MEMORY} is of another engine", hint="run 'fpgaflow generate' again")
    return replace(found, memory=np.frombuffer(content, dtype=found.memory.dtype).reshape(found.memory.shape))
