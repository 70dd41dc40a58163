"""The C simulation: the generated sources, compiled and run on this machine, bit for bit what the board computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import driver, ends, top_name, unit_ids
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.simulate.cache import in_use
from toolchain.simulate.compiler import DRIVER, pointer, shared_library
from toolchain.simulate.footprint import call_bytes, rows_that_fit
from toolchain.simulate.ports import MESSAGE_BYTES, run_unit

CALL_BYTES = 1 << 24
"""Bytes of streams that a call holds at its peak: more would not stay in the cache."""

MAX_FRAMES = 256
LEAST_FRAMES = 16
"""Fewer frames are not shared out to threads, so that frames still follow each other in a call."""

QUICK_FRAMES = 1000
"""Up to so many frames are compiled for quickly: about where that stops to pay for LeNet-5 and for ResNet-20."""

FrameProgress = Callable[[int, int], None]
"""Called with the frames done and the frames in all."""


@dataclass(frozen=True)
class Tap:
    """``elements`` (1, rows, W, C) of a ``value``, in the IR's order, as they passed on its stream."""

    value: str
    rows: slice
    elements: Array


class CSim:
    """A compiled accelerator. ``cycles`` and ``calls`` describe all runs so far.

    ``frames`` tells for how many it is compiled: up to ``QUICK_FRAMES`` are worth less of the compiler's time.
    """

    def __init__(
        self,
        graph: Graph,
        files: Mapping[str, str],
        *,
        jobs: int = 2,
        bounded: bool = False,
        frames: int = 1 << 30,
    ) -> None:
        self.graph = graph
        self.calls = 0
        self._files = files if bounded else {**files, DRIVER: driver(graph)}
        self._jobs = jobs
        self._ids = unit_ids(graph)
        self._roles = [end.role for end in ends(graph)[1:]]
        self._counts = np.zeros(len(self._ids), dtype=np.uint64)
        self._quick = frames <= QUICK_FRAMES
        self._library = self._compiled(bounded=bounded)

    def cycles(self) -> dict[str, int]:
        """Clock cycles counted by unit: the nodes, ``@read`` and ``@write``."""
        return {name: int(self._counts[i]) for name, i in self._ids.items()}

    def run(
        self,
        codes: Array,
        *,
        threads: int = 2,
        chunk: int | None = None,
        room: int = 1 << 30,
        progress: FrameProgress | None = None,
    ) -> Array:
        """``run_all`` where there is one output."""
        (found,) = self.run_all(codes, threads=threads, chunk=chunk, room=room, progress=progress)
        return found

    def run_all(
        self,
        codes: Array,
        *,
        threads: int = 2,
        chunk: int | None = None,
        room: int = 1 << 30,
        progress: FrameProgress | None = None,
    ) -> tuple[Array, ...]:
        """Codes (N, H, W, C) of every output for input ``codes`` (N, H, W, C), ``chunk`` frames a call.

        All calls at a time keep their streams within ``room`` bytes: fewer threads run where a frame takes much.

        Raises:
            VerificationError: a unit read an empty stream or left words over; the stream is named.
        """
        codes = self._checked(codes)
        threads = max(1, min(threads, room // call_bytes(self.graph)))
        size = chunk or min(self._frames_a_call(room, threads), max(LEAST_FRAMES, -(-len(codes) // threads)))
        starts = range(0, len(codes), size)
        parts = [self._room(0)]
        with ThreadPoolExecutor(threads) as pool:
            done = 0
            for results, counts in pool.map(lambda s: self._call(self._library, codes[s : s + size]), starts):
                parts.append(results)
                self._counts += counts
                self.calls += 1
                done += len(results[0])
                if progress is not None:
                    progress(done, len(codes))
        return tuple(map(np.concatenate, zip(*parts, strict=True)))

    def _room(self, frames: int) -> tuple[Array, ...]:
        """An array for the codes of every output."""
        return tuple(np.empty((frames, *value.shape), dtype=np.int64) for value in self.graph.ends)

    @property
    def words_a_frame(self) -> tuple[int, ...]:
        """Words of 128 bits that a frame takes in memory: of the input, and of every output."""
        return tuple(end.words for end in ends(self.graph))

    def run_words(self, words: Array) -> tuple[Array, ...]:
        """Return what the accelerator writes to memory, an array an output; all are uint64 (frames, 2 * words a frame).

        A word of 128 bits is two, the low half first; the layout is that of ``host.hpp``.

        Raises:
            VerificationError: a unit read an empty stream or left words over; the stream is named.
        """
        read, *written = self.words_a_frame
        words = np.ascontiguousarray(words, dtype=np.uint64).reshape(-1, 2 * read)
        answers = tuple(np.empty((len(words), 2 * count), dtype=np.uint64) for count in written)
        self._counts += self._started(self._library.fpgaflow_run_words, words, answers)
        self.calls += 1
        return answers

    def run_unit(self, name: str, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """Run the unit ``name`` alone on ``inputs``; return an array (N, H, W, C) in the IR's order for each stream.

        A node's unit answers with its outputs; ``READ`` and ``WRITE`` pass on what they are given.

        Raises:
            VerificationError: the unit read an empty stream, left words over or wrote too many or too few.
        """
        return run_unit(self._library, self.graph, name, inputs)

    def encode(self, images: Array) -> Array:
        """Input codes of ``images`` (N, H, W, C), integers or real numbers, by the project's own host code."""
        real = np.issubdtype(images.dtype, np.floating)
        call = self._library.fpgaflow_encode_reals if real else self._library.fpgaflow_encode_integers
        codes = np.empty((len(images), *self.graph.input.shape), dtype=np.int64)
        for image, code in zip(images, codes, strict=True):
            planes = np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32 if real else np.int64)
            call(pointer(planes), pointer(code))
        return codes

    def taps(self, codes: Array, room: int = 1 << 28) -> Iterator[Tap]:
        """Every value of one frame of ``codes`` (1, H, W, C) as it passed on its stream, in the graph's order.

        No more rows are recorded at a time than take ``room`` bytes; the frame runs as often as that needs. Values that
        a Reshape renames come once, by their first name.
        """
        library = self._compiled(taps=True)
        codes = self._checked(codes)
        for rows in rows_that_fit(self.graph, room):
            found = [row.stream for row in rows]
            firsts, lasts = zip(*(row.words for row in rows), strict=True)
            library.fpgaflow_select(
                (ctypes.c_int32 * len(rows))(*(stream.index for stream in found)),
                (ctypes.c_int64 * len(rows))(*firsts),
                (ctypes.c_int64 * len(rows))(*lasts),
                len(rows),
            )
            self._call(library, codes)
            for row in rows:
                elements = np.empty(library.fpgaflow_record(row.stream.index, None), dtype=np.int64)
                library.fpgaflow_record(row.stream.index, pointer(elements))
                yield Tap(row.value, row.rows, row.in_ir_order(self.graph, elements))

    def _compiled(self, *, taps: bool = False, bounded: bool = False) -> ctypes.CDLL:
        top, quick = top_name(self.graph), self._quick
        with in_use():
            library = shared_library(
                self._files, top, self._roles, taps=taps, bounded=bounded, quick=quick, jobs=self._jobs
            )
            return _load(library)

    def _checked(self, codes: Array) -> Array:
        if codes.shape[1:] != self.graph.input.shape:
            raise ValueError(f"codes of shape {codes.shape[1:]}, the input takes {self.graph.input.shape}")
        return np.ascontiguousarray(codes, dtype=np.int64)

    def _frames_a_call(self, room: int, threads: int) -> int:
        """Return the frames of one call: as many as run fast, and two if these fit, so that one follows another."""
        frame = call_bytes(self.graph)
        return max(1, min(MAX_FRAMES, max(CALL_BYTES // frame, 2), room // (threads * frame)))

    def _call(self, library: ctypes.CDLL, codes: Array) -> tuple[tuple[Array, ...], Array]:
        results = self._room(len(codes))
        return results, self._started(library.fpgaflow_run, codes, results)

    def _started(self, function: Callable[..., int], given: Array, answers: Sequence[Array]) -> Array:
        """The cycles by unit of a run on the frames of ``given``, which fills ``answers``."""
        counts = np.zeros(len(self._ids), dtype=np.uint64)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        pointers = (ctypes.c_void_p * len(answers))(*map(pointer, answers))
        if function(pointer(given), pointers, len(given), pointer(counts), message, MESSAGE_BYTES):
            raise VerificationError(f"the C simulation stopped: {message.value.decode(errors='replace')}")
        return counts


def build(graph: Graph, files: Mapping[str, str], *, jobs: int = 2, frames: int = 1 << 30) -> CSim:
    """Compile the project ``files`` generated from ``graph`` to run ``frames`` frames; what is unchanged is cached.

    Raises:
        UserError: no g++.
        FlowError: a file does not compile.
    """
    return CSim(graph, files, jobs=jobs, frames=frames)


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.fpgaflow_record.restype = ctypes.c_int64
    return library
