"""The specification against the C simulation; the first node that deviates is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from toolchain.errors import VerificationError
from toolchain.ir.encode import predictions
from toolchain.ir.evaluate import evaluate, values
from toolchain.ir.graph import Graph
from toolchain.ir.live import frame_bytes
from toolchain.ir.types import Array
from toolchain.memory import Memory, spans
from toolchain.simulate.csim import CSim, FrameProgress, Tap
from toolchain.simulate.footprint import CODE_BYTES, call_bytes

CODES_SHARE = 4
"""Input and output codes take this part of the memory, the streams or the evaluator's tensors the rest."""

TAP_SHARE = 4
"""Recorded streams take this part of the memory while a deviation is looked for."""

BATCH = 128
"""Frames that the evaluator runs together at most."""

Feed = Callable[[slice], Array]
"""Gives input codes (n, H, W, C) of some frames."""


@dataclass(frozen=True)
class Comparison:
    """``mismatches`` of the output codes over ``images`` frames; ``node`` is the first deviating one, "" if none.

    ``classes`` (N,) are what the C simulation's classifier says of each frame, none where there is no such output; it
    ran for ``seconds``.
    """

    images: int
    mismatches: int
    classes: Array
    seconds: float
    node: str = ""
    detail: str = ""

    def check(self) -> None:
        """VerificationError unless every code is equal."""
        if self.mismatches:
            raise VerificationError(
                f"C simulation and integer network differ in {self.mismatches} output codes of {self.images} images; "
                f"first deviating node: {self.node} ({self.detail})"
            )


def compare(
    csim: CSim,
    codes: Array,
    *,
    threads: int = 2,
    memory: Memory | None = None,
    progress: FrameProgress | None = None,
) -> Comparison:
    """``compare_frames`` on ``codes`` (N, H, W, C)."""
    return compare_frames(csim, len(codes), lambda part: codes[part], threads, memory or Memory(), progress)


def compare_frames(
    csim: CSim, count: int, feed: Feed, threads: int, memory: Memory, progress: FrameProgress | None = None
) -> Comparison:
    """Run ``count`` frames of ``feed`` through both; on a difference look for the first deviating node.

    Raises:
        VerificationError: the C simulation stopped on an empty or leftover stream.
        UserError: one frame wants more than ``memory``.
    """
    graph, wrong, seconds, node, detail = csim.graph, 0, 0.0, "", ""
    chunk, batch, room = chunk_frames(graph, count, memory)
    judge, told = graph.classifier, [np.zeros(0, dtype=np.int64)]
    for part in spans(count, chunk):
        codes = feed(part)
        started = time.monotonic()
        tell = None if progress is None else lambda done, _, at=part.start: progress(at + done, count)
        found = csim.run_all(codes, threads=threads, room=room, progress=tell)
        seconds += time.monotonic() - started
        told += [predictions(o, answer) for o, answer in zip(graph.outputs, found, strict=True) if o == judge]
        for few in spans(len(codes), batch):
            expected = evaluate(graph, codes[few])
            differs = np.concatenate(
                [
                    (expected[output.value] != answer[few]).reshape(len(answer[few]), -1)
                    for output, answer in zip(graph.outputs, found, strict=True)
                ],
                axis=1,
            )
            if differs.any() and not node:
                first = few.start + int(np.argmax(differs.any(axis=1)))
                node, detail = first_deviation(csim, codes[first : first + 1], memory)
            wrong += int(differs.sum())
    return Comparison(count, wrong, np.concatenate(told), seconds, node, detail)


def chunk_frames(graph: Graph, count: int, memory: Memory) -> tuple[int, int, int]:
    """Return the frames whose codes are held at once, those the evaluator runs at once, and bytes for all threads.

    Raises:
        UserError: one frame wants more than ``memory``.
    """
    codes = 3 * CODE_BYTES * (graph.input.size + sum(value.size for value in graph.ends))
    simulated, evaluated = call_bytes(graph), frame_bytes(graph)
    memory.frames(CODES_SHARE * codes + max(simulated, evaluated), "the C simulation", 1)
    chunk = max(1, min(count, memory.room // CODES_SHARE // codes))
    rest = memory.room - chunk * codes
    return chunk, max(1, min(BATCH, rest // evaluated)), rest


def first_deviation(csim: CSim, codes: Array, memory: Memory) -> tuple[str, str]:
    """Name of the first node whose output stream differs from the evaluator, and where, in a frame (1, H, W, C).

    ``@read`` is the reader, ``@write`` a writer: one is at fault when every stream is right.
    """
    producers = csim.graph.producers()
    for tap, expected in compared_taps(csim, codes, memory):
        wrong = np.argwhere(tap.elements != expected)
        if not len(wrong):
            continue
        if tap.value not in producers:
            return "@read", "the input stream"
        frame, row, *place = (int(i) for i in wrong[0])
        seen, right = (int(array[frame, row, *place]) for array in (tap.elements, expected))
        at = (frame, tap.rows.start + row, *place)
        return producers[tap.value].name, (
            f"value '{tap.value}' at {at} is {seen}, should be {right}; {len(wrong)} of {expected.size} differ"
        )
    return "@write", "the output words"


def compared_taps(csim: CSim, codes: Array, memory: Memory) -> Iterator[tuple[Tap, Array]]:
    """Yield, for a frame (1, H, W, C), the values of each stream a few rows at a time beside the evaluator's."""
    graph = csim.graph
    ours = values(graph, codes, set(graph.values()))
    name, whole = next(ours)
    for tap in csim.taps(codes, memory.room // TAP_SHARE):
        while name != tap.value:
            name, whole = next(ours)
        yield tap, whole[:, tap.rows]
