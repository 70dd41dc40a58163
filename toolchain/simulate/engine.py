"""The core of the cycle simulator, ``sim/cycles/cycles.cpp``: its tables, and how it is called.

State is a few tables of int64 that it gets whole.
"""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np

from toolchain.ir.types import Array
from toolchain.paths import data_path
from toolchain.simulate.cache import in_use
from toolchain.simulate.compiler import pointer, source_library

# Columns of the table of units. First what is given: iterations before the first frame and of a frame, stages of the
# pipeline, ranges of segments and ports. Then where the unit is: the last iteration, its move of the pipeline and the
# cycles held until then, the segment and its repetition, the event and its iteration and flags, where the repetition
# began, frames begun; words made and left, the cycles held until the last one left, and words passed by iterations.
# Then its answers: what it waits for, its state, and cycles lost by kind of wait.
ONCE, FRAME, STAGES, LAST_SEGMENT, FIRST_IN, LAST_IN, FIRST_OUT, LAST_OUT = range(8)
LAST_K, LAST_MOVE, HELD, SEGMENT, REPEAT, EVENT, K_EVENT, FLAG, BASE, BEGUN = range(8, 18)
MADE, LEFT, LEFT_HELD, PASSED = range(18, 22)
WAITS_FOR_WORD, WAITS_FOR_ROOM, STATE, EMPTY_STALL, FULL_STALL = range(22, 27)
UNIT_COLUMNS = 27
# Columns of the table of segments, and of the table of events.
LENGTH, REPEATS, FIRST_EVENT, LAST_EVENT = range(4)
OFFSET, FLAGS = range(2)
# Columns of the table of streams: words of the FIFO, the units at its ends, where its times are kept and their number
# less one; words written and read; writes and reads already looked at for the fill, and the fill.
DEPTH, WRITER, READER, RING, MASK = range(5)
WRITTEN, READ, SEEN_WRITES, SEEN_READS, FILL = range(5, 10)
STREAM_COLUMNS = 10
# Rows of the table of times and of the table of frames.
WRITTEN_AT, READ_AT = range(2)
START, END, DIGEST, LEFT_DIGEST = range(4)
# What the ring of a unit holds of a word: its move out of the pipeline, the cycles held until then, its frame.
WORD_MOVE, WORD_HELD, WORD_FRAME = range(3)
# How to run: see Network.run.
PACE, EVEN, WATCH = range(3)
# What a watched run says of the pace, and what a unit waits for in the end.
UNKNOWN, STEADY, DRIFTING = range(3)
DONE, EMPTY, FULL = range(3)


def run(
    units: Array,
    segments: Array,
    events: Array,
    ports: Array,
    streams: Array,
    times: Array,
    leaving: Array,
    frames: Array,
    rules: Array,
    stack: Array,
    queued: Array,
) -> int:
    """Run to the end, to a deadlock, or until a watched run is decided; returns its verdict and fills the tables.

    ``frames`` holds start, last time and digests by unit and frame. The digests cover all times of a frame relative to
    the pace, of iterations and of words that leave: equal digests mean equal times. ``stack`` are the units in the
    order in which they run first, the last one first, all of them ``queued``.

    Raises:
        UserError: no g++.
    """
    tables = [units, segments, events, ports, streams, times, leaving, frames, rules, stack]
    if any(table.dtype != np.int64 or not table.flags.c_contiguous for table in tables):
        raise TypeError("the tables are int64 and contiguous")
    verdict: int = _library().fpgaflow_cycles(
        *(pointer(units), len(units), pointer(segments), pointer(events), pointer(ports), pointer(streams)),
        *(pointer(times), times.shape[1], pointer(leaving), leaving.shape[2], pointer(frames), frames.shape[2]),
        *(pointer(rules), pointer(stack), pointer(queued)),
    )
    return verdict


@cache
def _library() -> ctypes.CDLL:
    with in_use():
        library = ctypes.CDLL(str(source_library(data_path("sim") / "cycles" / "cycles.cpp")))
    table, number = ctypes.c_void_p, ctypes.c_int64
    library.fpgaflow_cycles.argtypes = [
        *(table, number, table, table, table, table, table, number, table, number, table, number, table, table, table),
    ]
    return library
