"""The driver of a build, unchanged, on a mock board whose accelerator is the C simulation or the SystemVerilog's."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from toolchain.deploy.mock import Board, BoardFault, Memory, bitstream, hardware_handoff, installed
from toolchain.deploy.package import BOARD, DRIVER, FOLDER, MOST_SAMPLES, NETWORK, SAMPLES, deployable
from toolchain.engine.csim import EngineSim
from toolchain.errors import UserError, VerificationError
from toolchain.files import NO_ARRAYS
from toolchain.flow.build import Build
from toolchain.flow.engine import Engine
from toolchain.flow.options import Check
from toolchain.flow.progress import Progress, silent
from toolchain.flow.project import change_notes, read_project
from toolchain.flow.rtl import demand_tools, rtl_simulation
from toolchain.flow.streaming import Streaming
from toolchain.ir.types import Array
from toolchain.rtl.generate import generate_rtl

log = logging.getLogger(__name__)

Hardware = Callable[[Mapping[str, int], Memory], None]
"""The effect of a start: it reads registers by name and changes the device's memory."""

BATCHES = (1, 7, 64)
"""Frames a start that a trial is made with: one, a number that leaves a rest, and the driver's own."""


@dataclass(frozen=True)
class Trial:
    """Result of the driver on the mock board: ``batch`` frames a start, and the wrong codes out of all."""

    batch: int
    starts: int
    images: int
    codes: int
    wrong_codes: int
    top1: float | None


def load_driver(path: Path) -> ModuleType:
    """The driver in the file ``path`` as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"driver_{abs(hash(path))}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and named tuples look their module up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    return module


class Simulation(Protocol):
    """A simulation that runs in place of a streaming accelerator."""

    @property
    def words_a_frame(self) -> tuple[int, ...]:
        """Words of 128 bits of the input, and of every output."""

    def run_words(self, words: Array) -> tuple[Array, ...]:
        """Return the words written for ``words``, an array an output; all are uint64 (frames, 2 * words a frame)."""


def streaming_accelerator(simulation: Simulation, facts: Mapping[str, Any]) -> Hardware:
    """The hardware of a streaming build: it reads words at its first pointer and writes them at the others."""
    source, *targets = facts["ports"]
    reader, *writers = simulation.words_a_frame

    def run(registers: Mapping[str, int], memory: Memory) -> None:
        frames = registers[facts["count"]["register"]]
        words = memory(registers[source], 16 * reader * frames).view(np.uint64).reshape(frames, -1)
        for target, writer, answer in zip(targets, writers, simulation.run_words(words), strict=True):
            memory(registers[target], 16 * writer * frames)[:] = answer.view(np.uint8).reshape(-1)

    return run


def engine_accelerator(simulation: EngineSim, facts: Mapping[str, Any]) -> Hardware:
    """The hardware of an engine build: its passes read and write one memory image, which all pointers name."""
    size = 16 * facts["memory"]["words"]

    def run(registers: Mapping[str, int], memory: Memory) -> None:
        first, *others = (registers[name] for name in facts["ports"])
        if any(other != first for other in others):
            raise BoardFault("the engine's pointers name different images")
        image = memory(first, size).view(np.uint64).reshape(-1, 2).copy()
        simulation.run_program(image, registers[facts["count"]["register"]])
        memory(first, size)[:] = image.view(np.uint8).reshape(-1)

    return run


def mock_board(build: Build, facts: Mapping[str, Any], *, rtl: bool = False, progress: Progress = silent) -> Board:
    """A board with the accelerator of ``build``, of its C++ or with ``rtl`` of its SystemVerilog at its AXI ports.

    Raises:
        UserError: network.json is of another accelerator, or with ``rtl`` there is no SystemVerilog or no Verilator.
    """
    if deployable(build).facts["design"] != facts["design"]:
        raise UserError(f"{build.folder / FOLDER} is of another accelerator", hint="run 'fpgaflow deploy' again")
    design = build.design
    if rtl:
        demand_tools(build.record.architecture)
        assert isinstance(design, Streaming)
        files = generate_rtl(design.hardware)
        run = streaming_accelerator(rtl_simulation(design.hardware, files, progress=progress), facts)
    elif isinstance(design, Engine):
        run = engine_accelerator(design.simulation(build.project.files), facts)
    else:
        assert isinstance(design, Streaming)
        csim = design.csim(build.project.files, Check(), frames=MOST_SAMPLES * len(BATCHES), progress=progress)
        run = streaming_accelerator(csim, facts)
    return Board(run, facts["registers"], facts["base"])


@contextmanager
def on_the_board(build: Build) -> Iterator[Path]:
    """A copy of deploy/board/ of ``build``, with the files that Vivado would add; it vanishes.

    Raises:
        UserError: the build has no deploy/.
    """
    source = build.folder / FOLDER / BOARD
    if not (source / NETWORK).is_file():
        raise UserError(f"no {source}", hint="run 'fpgaflow deploy' without --try first")
    facts = _facts(source / NETWORK)
    with tempfile.TemporaryDirectory(prefix="fpgaflow-board-") as name:
        home = Path(name) / BOARD
        home.mkdir()
        for file in source.iterdir():
            if file.is_file() and file.suffix not in (".bit", ".hwh"):
                shutil.copy2(file, home)
        (home / f"{facts['design']}.bit").write_bytes(bitstream(facts["design"]))
        (home / f"{facts['design']}.hwh").write_text(hardware_handoff(facts), encoding="utf-8")
        yield home


def _facts(path: Path) -> dict[str, Any]:
    """The contents of network.json."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        hint = "run 'fpgaflow deploy --overwrite' again"
        raise UserError(f"not valid JSON: {error}", where=str(path), hint=hint) from error
    return found


def try_driver(build: Build, *, rtl: bool = False, progress: Progress = silent) -> list[Trial]:
    """Run the driver in deploy/ of ``build`` on its samples, at several batches; ``rtl``: see `mock_board`.

    Raises:
        UserError: the build has no deploy/, or its driver stops.
        VerificationError: a code is not the integer network's.
    """
    found = []
    with on_the_board(build) as home:
        for note in change_notes(read_project(build.folder / FOLDER, "fpgaflow deploy"), f"{FOLDER}/", "the trial"):
            log.warning("%s", note)
        facts = _facts(home / NETWORK)
        driver = load_driver(home / DRIVER)
        board = mock_board(build, facts, rtl=rtl, progress=progress)
        for batch in BATCHES:
            before = board.starts
            with installed(board):
                try:
                    with driver.Accelerator(home / NETWORK, batch=batch) as network:
                        checked = network.validate()
                except (driver.BoardError, BoardFault, *NO_ARRAYS) as error:
                    raise UserError(f"the driver stopped: {error}", where=str(build.folder / FOLDER)) from error
            counts = (checked["images"], checked["codes"], checked["wrong_codes"])
            found.append(Trial(batch, board.starts - before, *counts, checked["top1"]))
    wrong = next((trial for trial in found if trial.wrong_codes), None)
    if wrong is not None:
        raise VerificationError(
            f"the driver's answers differ: {wrong.wrong_codes} of {wrong.codes} codes of {SAMPLES}, batch {wrong.batch}"
        )
    return found
