"""A generated SystemVerilog project on input codes: its answers, the cycles of its frames, the fill of its FIFOs."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from toolchain.errors import FlowError, VerificationError
from toolchain.files import write_files
from toolchain.hls_templates.generate import READ, End, ends, place_units
from toolchain.hls_templates.streams import streams, to_ir_order
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, QInt
from toolchain.programs import run_program
from toolchain.rtl.stages import PORT_STAGES, stages
from toolchain.simulate.cycles import Network
from toolchain.simulate.ports import in_stream_order
from toolchain.units.limits import MEMORY_BITS

PATIENCE = 4
"""A run has stopped for good when no word moved at either end for so many frames' cycles and those of its own: words
wait for a burst to be whole."""

ANSWERS = 4096
"""More cycles than the memory's answers, its pauses and the polls of registers take, however small the network."""

DEADLOCK, BROKEN_RULE = 3, 4
"""The program's exit codes then, and where a port does what none may."""


@dataclass(frozen=True)
class Pauses:
    """Pauses at the ends of the accelerator, in cycles out of 256."""

    reads: int = 0
    writes: int = 0
    seed: int = 1


NO_PAUSES = Pauses()


@dataclass(frozen=True)
class RtlRun:
    """The result of a run of several frames.

    ``codes`` by value are (N, H, W, C), ``frame_ends`` the cycles in which the last writer took the last word of each
    frame, ``fill`` by value the most words that a FIFO held, ``seconds`` those of the simulation.
    """

    codes: Mapping[str, Array]
    frame_ends: tuple[int, ...]
    fill: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Deviation:
    """The first word of a stream that is not the evaluator's: its ``frame``, and in ``text`` its maker and cycle."""

    frame: int
    text: str

    def __str__(self) -> str:
        """Return the text for a message."""
        return self.text


class Standstill(VerificationError):
    """The error of a simulation in which no word moves any more, after ``frames`` whole frames."""

    def __init__(self, came: str, frames: int) -> None:
        super().__init__(f"the SystemVerilog stands still: {came}")
        self.frames = frames


def interval(frame_ends: Sequence[int]) -> int:
    """The most cycles from the end of a frame to that of the next; of a lone frame those to its end.

    The last frames follow each other faster: nothing comes behind what still waits in front of the slowest unit.
    """
    return max((after - before for before, after in pairwise(frame_ends)), default=frame_ends[0])


class RtlSimulation:
    """The verilated ``program`` of a HARDWARE graph and the memories among ``files`` that it reads.

    The program runs the graph's core or its top; ``arguments`` are further ones of it.
    """

    def __init__(self, graph: Graph, files: Mapping[str, str], program: Path, *arguments: str) -> None:
        self.graph, self._program, self._arguments = graph, program, arguments
        self._memories = {path: text for path, text in files.items() if path.endswith(".mem")}
        self._ends = ends(graph)

    @property
    def words_a_frame(self) -> tuple[int, ...]:
        """Words of 128 bits that a frame takes in memory: of the input, and of every output."""
        return tuple(end.words for end in self._ends)

    def run(self, codes: Array, pauses: Pauses = NO_PAUSES) -> RtlRun:
        """Run one call on the frames ``codes`` (N, H, W, C).

        Raises:
            Standstill: no word moves any more.
            VerificationError: a port does what none may.
        """
        with tempfile.TemporaryDirectory(prefix="fpgaflow-rtl-") as name:
            found, stands = self._call(Path(name), codes, pauses)
        if stands:
            raise Standstill(stands, len(found.frame_ends))
        return found

    def run_words(self, words: Array) -> tuple[Array, ...]:
        """Return the words that one call writes to memory for ``words``, in the form of ``CSim.run_words``.

        Raises:
            Standstill: no word moves any more.
            VerificationError: a port does what none may.
        """
        read, *written = self.words_a_frame
        frames = words.size // (2 * read)
        with tempfile.TemporaryDirectory(prefix="fpgaflow-rtl-") as name:
            folder = Path(name)
            (folder / "in").write_bytes(np.ascontiguousarray(words, dtype=np.uint64).tobytes())
            _, _, stands = self._execute(folder, frames, NO_PAUSES)
            if stands:
                raise Standstill(stands, 0)
            outputs = (np.fromfile(folder / f"out{number}", dtype=np.uint64) for number in range(len(written)))
            return tuple(found.reshape(frames, -1) for found in outputs)

    def first_deviation(self, codes: Array, pauses: Pauses = NO_PAUSES) -> Deviation | None:
        """The first unit whose words differ from the evaluator's on ``codes``; None where none does."""
        with tempfile.TemporaryDirectory(prefix="fpgaflow-rtl-") as name:
            self._call(Path(name), codes, pauses, "+record=.")
            return _deviation(self.graph, codes, Path(name))

    def trace(self, codes: Array, frame: int, target: Path, pauses: Pauses = NO_PAUSES) -> None:
        """Write the waveform (VCD) of a ``frame`` to ``target``: from its first word on, behind the frames before it.

        The program is one with a trace.
        """
        with tempfile.TemporaryDirectory(prefix="fpgaflow-rtl-", dir=target.parent) as name:
            folder = Path(name)
            behind = frame * self.words_a_frame[0]
            self._call(folder, codes[: frame + 1], pauses, "+trace=wave.vcd", f"+behind={behind}")
            os.replace(folder / "wave.vcd", target)

    def _call(self, folder: Path, codes: Array, pauses: Pauses, *arguments: str) -> tuple[RtlRun, str]:
        """Run a call; return its result and, if it stands still, the text that says how far it came."""
        reader, *writers = self._ends
        words = pack(reader, in_stream_order(self.graph, self.graph.input.name, codes))
        (folder / "in").write_bytes(words.tobytes())
        text, seconds, stands = self._execute(folder, len(codes), pauses, *arguments)
        found, last = {}, []
        for number, (output, writer) in enumerate(zip(self.graph.outputs, writers, strict=True)):
            out = np.fromfile(folder / f"out{number}", dtype=np.uint8).reshape(-1, MEMORY_BITS // 8)
            frames = len(out) // writer.words
            cycles = np.fromfile(folder / f"cycles{number}", dtype=np.int64, sep="\n")[: frames * writer.words]
            found[output.value] = unpack(writer, out[: frames * writer.words], self.graph, output.value)
            last.append(cycles[writer.words - 1 :: writer.words] - PORT_STAGES)
        together = zip(*(end.tolist() for end in last), strict=False)  # a run that stands still has ended some
        return RtlRun(found, tuple(max(frame) for frame in together), self._fill(text), seconds), stands

    def _execute(self, folder: Path, frames: int, pauses: Pauses, *arguments: str) -> tuple[str, float, str]:
        """Run the program on the words in ``folder``; return its output, its seconds, and how far it came."""
        write_files(self._memories, folder)
        wanted = [frames * end.words for end in self._ends[1:]]
        numbers = (frames, pauses.reads, pauses.writes, pauses.seed, self._patience(frames), *wanted)
        command = [str(self._program), "in", "out", "cycles", *map(str, numbers)]
        command += ["+verilator+rand+reset+2", f"+verilator+seed+{pauses.seed}", "+cycles=cycles"]
        started = time.monotonic()
        done = run_program([*command, *self._arguments, *arguments], folder)
        seconds = time.monotonic() - started
        if done.returncode == BROKEN_RULE:
            raise VerificationError(f"the SystemVerilog's ports: {done.stderr.strip()}")
        if done.returncode not in (0, DEADLOCK):
            raise FlowError(f"the simulation of the SystemVerilog ended with {done.returncode}: {done.stderr[-300:]}")
        return done.stdout, seconds, self._came(folder, wanted) if done.returncode == DEADLOCK else ""

    def _patience(self, frames: int) -> int:
        units = sum(found.frame + found.once for found in Network(self.graph).schedules(1))
        return ANSWERS + (PATIENCE + frames) * units

    def _came(self, folder: Path, wanted: Sequence[int]) -> str:
        """How many of the ``wanted`` words have left, which all lie in memory, whatever they are."""
        lines = (len((folder / f"cycles{number}").read_text().splitlines()) for number in range(len(wanted)))
        got = sum(min(count, most) for count, most in zip(lines, wanted, strict=True))
        return f"{got} of {sum(wanted)} words have left it"

    def _fill(self, text: str) -> dict[str, int]:
        lines = (line.split() for line in text.splitlines() if line.startswith("fill "))
        most = {int(index): int(words) for _, index, words in lines}
        return {name: most[stream.index] for name, stream in streams(self.graph).items()}


def expected_ends(graph: Graph, frames: int) -> tuple[int, ...]:
    """The cycles in which the cycle simulator's writers take the last word of each frame, with the RTL's pipelines."""
    network = Network(graph)
    own = dict.fromkeys(network.units, PORT_STAGES)
    own |= {placed.node.name: stages(placed.unit) for placed in place_units(graph)}
    found = network.run(network.depths_of(graph), frames, stages=np.array([own[name] for name in network.units]))
    network.timing(found).check()
    return tuple(int(end) for end in found.ends)


def pack(end: End, codes: Array) -> Array:
    """Words (n, 16) of bytes that hold ``codes`` (N, ...) in stream order, every frame from a new word on."""
    kind, frames = end.stream.type, len(codes)
    bits = codes.reshape(frames, end.groups, -1, 1) >> np.arange(kind.bits) & 1
    grouped = np.zeros((frames, end.words * end.groups_a_word, end.stream.bits), dtype=np.uint8)
    grouped[:, : end.groups] = bits.reshape(frames, end.groups, -1)
    words = np.zeros((frames * end.words, MEMORY_BITS), dtype=np.uint8)
    words[:, : end.groups_a_word * end.stream.bits] = grouped.reshape(frames * end.words, -1)
    return np.packbits(words, axis=1, bitorder="little")


def unpack(end: End, words: Array, graph: Graph, name: str) -> Array:
    """The codes (N, H, W, C) of the value ``name`` in ``words`` (n, 16) that the writer ``end`` gave."""
    used = end.groups_a_word * end.stream.bits
    bits = np.unpackbits(words, axis=1, bitorder="little")[:, :used].reshape(
        -1, end.words * end.groups_a_word, end.stream.bits
    )
    return to_ir_order(graph, name, _numbers(bits[:, : end.groups], end.stream.type))


def _numbers(bits: Array, kind: QInt) -> Array:
    """Numbers of ``kind`` from their bits, the lowest first, along the last axis."""
    weights = 1 << np.arange(kind.bits, dtype=np.int64)
    if kind.signed:
        weights[-1] = -weights[-1]
    return bits.reshape(*bits.shape[:-1], bits.shape[-1] // kind.bits, kind.bits).astype(np.int64) @ weights


def _deviation(graph: Graph, codes: Array, folder: Path) -> Deviation | None:
    values = evaluate(graph, codes, taps=set(graph.values()))
    found = streams(graph)
    makers = graph.producers()
    for name in dict.fromkeys(stream.values[0] for stream in found.values()):
        stream = found[name]
        right = in_stream_order(graph, name, values[name]).reshape(-1, stream.lanes)
        for number, line in enumerate((folder / f"stream_{stream.index}.txt").read_text().splitlines()):
            cycle, word = line.split()
            bits = np.array([int(word, 16) >> i & 1 for i in range(stream.bits)], dtype=np.uint8)
            seen = _numbers(bits, stream.type)
            if number < len(right) and not np.array_equal(seen, right[number]):  # then come those of later calls
                maker, expected = makers[name].name if name in makers else READ, right[number].tolist()
                told = f"{maker}: word {number} of '{name}' in cycle {cycle} is {seen.tolist()}, should be {expected}"
                return Deviation(number * len(codes) // len(right), told)
    return None
