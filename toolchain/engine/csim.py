"""The C simulation of an engine: its sources, compiled and run on a memory image."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.engine.generate import TOP, generate
from toolchain.engine.hosts import answer_names, input_beats, result_codes
from toolchain.engine.schedule import LOADS, PORTS, UNITS
from toolchain.engine.tables import Program
from toolchain.errors import VerificationError
from toolchain.files import write_files
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.paths import data_path
from toolchain.simulate.cache import cache_folder, held, in_use
from toolchain.simulate.compiler import FLAGS, ap_types, compiler, digest, pointer, precompiled, run_compiler

COUNTERS = (*UNITS, *PORTS, *LOADS)
MESSAGE_BYTES = 512
OPTIONS = ("-O3", f"-DFPGAFLOW_TOP={TOP}")
"""The compiler's options after the common ones; -O3 because an ImageNet frame is half a billion products."""


@dataclass(frozen=True)
class Run:
    """Answers (N, H, W, C), one an output, and what a frame took: (passes, counters) in the order of ``COUNTERS``."""

    answers: tuple[Array, ...]
    counts: Array


class EngineSim:
    """A compiled engine with the memory image of one network.

    ``files`` are the sources of the project; without them they are generated.
    """

    def __init__(self, graph: Graph, found: Program, files: Mapping[str, str] | None = None) -> None:
        self.graph = graph
        self.found = found
        sources = generate(found.shape, 0) if files is None else files  # the memory is co-simulation's
        with in_use():
            self._library = ctypes.CDLL(str(library(sources)))

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame: the memory image here and as the words of the simulation, and the codes."""
        return 2 * self.found.memory.nbytes + 4 * 8 * self.graph.input.size

    def run(self, codes: Array, *, threads: int = 2) -> Run:
        """The answers to input ``codes`` (N, H, W, C), a frame a call.

        Raises:
            VerificationError: a unit read an empty stream or left words over; the stream is named.
        """
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(self._frame, codes))
        answers = zip(*(answers for answers, _ in results), strict=True)
        return Run(tuple(map(np.stack, answers)), results[0][1])

    def memory(self, codes: Array) -> tuple[Array, Array]:
        """The memory (beats, 2) after a frame of ``codes`` (H, W, C), and the counts (passes, counters)."""
        memory = self.found.memory.copy()
        image = input_beats(self.graph, self.found, codes)
        start = self.found.maps[self.found.cut.passes[0].source].address
        memory[start : start + len(image)] = image
        return memory, self.run_program(memory, self.found.passes)

    def run_program(self, memory: Array, passes: int) -> Array:
        """Run ``passes`` entries of the table in ``memory`` (beats, 2), which changes; the counts (passes, counters).

        Raises:
            VerificationError: a unit read an empty stream or left words over; the stream is named.
        """
        counts = np.zeros((passes, len(COUNTERS)), dtype=np.uint64)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        failed = self._library.fpgaflow_engine_run(
            pointer(memory),
            ctypes.c_int64(len(memory)),
            passes,
            pointer(counts),
            message,
            MESSAGE_BYTES,
        )
        if failed:
            raise VerificationError(f"the C simulation stopped: {message.value.decode(errors='replace')}")
        return counts.astype(np.int64)

    def _frame(self, codes: Array) -> tuple[list[Array], Array]:
        memory, counts = self.memory(codes)
        shapes = (self.graph.value(name).shape for name in answer_names(self.graph))
        pairs = zip(self.found.cut.read, shapes, strict=True)
        return [result_codes(self.graph, self.found, p, memory).reshape(shape) for p, shape in pairs], counts


def library(files: Mapping[str, str]) -> Path:
    """The library that runs the engine ``files``, compiled unless the cache holds it.

    Raises:
        UserError: no g++.
        FlowError: a file does not compile.
    """
    home = data_path("sim")
    sim = {path.name: path.read_text(encoding="utf-8") for path in (*home.glob("*.h*"), *(home / "engine").iterdir())}
    texts = [part for each in (sim, files) for path in sorted(each) for part in (path, each[path])]
    identity = digest([*compiler(), *FLAGS, *OPTIONS, str(ap_types()), *texts])
    target = cache_folder() / "lib" / f"{identity}.so"
    if held(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="engine-") as name:
        folder = Path(name)
        write_files(files, folder)
        prefix = precompiled(sim, OPTIONS, "engine.hpp")
        sources = ("src/top.cpp", str(prefix / "harness.cpp"))
        (folder / "together.cpp").write_text("".join(f'#include "{source}"\n' for source in sources), encoding="utf-8")
        includes = ["-I.", "-Iinclude", "-Isrc", f"-I{prefix}", "-include", "engine.hpp", "-isystem", str(ap_types())]
        command = [*FLAGS, *OPTIONS, *includes, "-shared", "together.cpp", "-o", "engine.so"]
        run_compiler([compiler()[0], *command], folder)
        os.replace(folder / "engine.so", target)
    return target
