"""The C simulation: the generated sources, compiled and run on this machine, bit for bit what the board computes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import driver, top_name, unit_ids
from toolchain.hls_templates.streams import streams, to_ir_order
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array
from toolchain.simulate.compiler import DRIVER, shared_library
from toolchain.simulate.ports import MESSAGE_BYTES, run_unit

STREAM_ELEMENTS = 1 << 22
"""Stream elements that one call holds at a time; a call simulates as many frames as fit."""

MAX_FRAMES = 256
LEAST_FRAMES = 16
"""Fewer frames are not shared out to threads, so that frames still follow each other in a call."""

Progress = Callable[[int, int], None]
"""Called with the frames done and the frames in all."""


class CSim:
    """A compiled accelerator. ``cycles`` and ``calls`` describe all runs so far."""

    def __init__(self, graph: Graph, files: Mapping[str, str], *, jobs: int = 2, bounded: bool = False) -> None:
        self.graph = graph
        self.calls = 0
        self._files = files if bounded else {**files, DRIVER: driver(graph)}
        self._jobs = jobs
        self._ids = unit_ids(graph)
        self._counts = np.zeros(len(self._ids), dtype=np.uint64)
        self._library = _load(shared_library(self._files, top_name(graph), bounded=bounded, jobs=jobs))

    def cycles(self) -> dict[str, int]:
        """Clock cycles counted by unit: the nodes, ``@read`` and ``@write``."""
        return {name: int(self._counts[i]) for name, i in self._ids.items()}

    def run(
        self, codes: Array, *, threads: int = 2, chunk: int | None = None, progress: Progress | None = None
    ) -> Array:
        """Output codes (N, H, W, C) of input ``codes`` (N, H, W, C), ``chunk`` frames a call of the accelerator.

        Raises:
            VerificationError: a unit read an empty stream or left words over; the stream is named.
        """
        codes = self._checked(codes)
        size = chunk or min(self._frames_a_call(), max(LEAST_FRAMES, -(-len(codes) // threads)))
        starts = range(0, len(codes), size)
        parts: list[Array] = []
        with ThreadPoolExecutor(threads) as pool:
            done = 0
            for results, counts in pool.map(lambda s: self._call(self._library, codes[s : s + size]), starts):
                parts.append(results)
                self._counts += counts
                self.calls += 1
                done += len(results)
                if progress is not None:
                    progress(done, len(codes))
        shape = self.graph.value(self.graph.output).shape
        return np.concatenate(parts) if parts else np.zeros((0, *shape), dtype=np.int64)

    def run_unit(self, name: str, inputs: Sequence[Array]) -> tuple[Array, ...]:
        """What the unit ``name`` alone answers to ``inputs``, one array (N, H, W, C) in the IR's order a stream.

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
            call(_pointer(planes), _pointer(code))
        return codes

    def taps(self, codes: Array) -> dict[str, Array]:
        """Every value (N, H, W, C) in the IR's order, as it passed on its stream; meant for a few frames."""
        library = _load(shared_library(self._files, top_name(self.graph), taps=True, jobs=self._jobs))
        self._call(library, self._checked(codes))
        found: dict[str, Array] = {}
        for name, stream in streams(self.graph).items():
            length = library.fpgaflow_record(stream.index, None)
            elements = np.empty(length, dtype=np.int64)
            library.fpgaflow_record(stream.index, _pointer(elements))
            found[name] = to_ir_order(self.graph, name, elements)
        return found

    def _checked(self, codes: Array) -> Array:
        if codes.shape[1:] != self.graph.input.shape:
            raise ValueError(f"codes of shape {codes.shape[1:]}, the input takes {self.graph.input.shape}")
        return np.ascontiguousarray(codes, dtype=np.int64)

    def _frames_a_call(self) -> int:
        elements = sum(value.size for value in self.graph.values().values())
        return max(1, min(MAX_FRAMES, STREAM_ELEMENTS // elements))

    def _call(self, library: ctypes.CDLL, codes: Array) -> tuple[Array, Array]:
        results = np.empty((len(codes), *self.graph.value(self.graph.output).shape), dtype=np.int64)
        counts = np.zeros(len(self._ids), dtype=np.uint64)
        message = ctypes.create_string_buffer(MESSAGE_BYTES)
        failed = library.fpgaflow_run(
            _pointer(codes), _pointer(results), len(codes), _pointer(counts), message, MESSAGE_BYTES
        )
        if failed:
            raise VerificationError(f"the C simulation stopped: {message.value.decode(errors='replace')}")
        return results, counts


def build(graph: Graph, files: Mapping[str, str], *, jobs: int = 2) -> CSim:
    """Compile the project ``files`` generated from ``graph``; unchanged units come from the cache.

    Raises:
        UserError: no g++.
        FlowError: a file does not compile.
    """
    return CSim(graph, files, jobs=jobs)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.fpgaflow_record.restype = ctypes.c_int64
    return library
