"""The compiled core of the cycle simulator: exact start times of iterations, by the streams that they wait for.

Iteration k of a unit starts one cycle after iteration k - 1, or later: when a word that it reads has been in its FIFO
for a cycle, and when a word that leaves the pipeline with it has a free place, freed a cycle before. These are the only
waits, so start times follow from the neighbours' times without stepping a clock. Each unit runs until it needs a time
that is not known yet; the order in which units run changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

NEVER = 1 << 62

# Columns of the table of units.
ONCE, FRAME, STAGES, FIRST_SEGMENT, LAST_SEGMENT, FIRST_IN, LAST_IN, FIRST_OUT, LAST_OUT = range(9)
# Columns of the table of segments.
LENGTH, REPEATS, FIRST_EVENT, LAST_EVENT = range(4)
# Columns of the table of streams.
DEPTH, WRITER, READER, RING = range(4)
# What a unit waits for in the end.
DONE, EMPTY, FULL = range(3)
# Columns of a unit's answers.
STATE, WAITS_FOR, BUSY, EMPTY_STALL, FULL_STALL = range(5)


@njit(cache=True)
def run(units, segments, offsets, flags, ports, streams, frames, pace, even, reserve_early):  # type: ignore[no-untyped-def]
    """Run ``frames`` frames; see ``cycles.Network.run`` for the arguments.

    Returns (answers a unit, deepest fill a stream, start, end and digest of every unit's frames). The digest covers all
    times of a frame relative to ``pace``; equal digests mean equal times.
    """
    count = len(units)
    rings = 0
    for s in range(len(streams)):
        rings += streams[s, DEPTH] + 2
    written_at = np.zeros(rings, dtype=np.int64)
    read_at = np.zeros(rings, dtype=np.int64)
    written = np.zeros(len(streams), dtype=np.int64)
    reserved = np.zeros(len(streams), dtype=np.int64)
    read = np.zeros(len(streams), dtype=np.int64)
    seen_writes = np.zeros(len(streams), dtype=np.int64)  # up to where `fill` has been found
    seen_reads = np.zeros(len(streams), dtype=np.int64)
    fill = np.zeros(len(streams), dtype=np.int64)

    answers = np.zeros((count, 5), dtype=np.int64)
    starts = np.zeros((count, frames), dtype=np.int64)
    ends = np.zeros((count, frames), dtype=np.int64)
    digests = np.zeros((count, frames), dtype=np.int64)

    last_k = np.full(count, -1, dtype=np.int64)
    last_t = np.full(count, -1, dtype=np.int64)
    segment = units[:, FIRST_SEGMENT].copy()
    repeat = np.zeros(count, dtype=np.int64)
    event = np.zeros(count, dtype=np.int64)
    base = np.zeros(count, dtype=np.int64)
    frame = np.full(count, -1, dtype=np.int64)
    most_stages = 1
    for u in range(count):
        event[u] = segments[segment[u], FIRST_EVENT]
        most_stages = max(most_stages, units[u, STAGES] + 1)
    pending = np.zeros((count, most_stages), dtype=np.int64)  # iterations in which the pipeline's words leave
    pending_first = np.zeros(count, dtype=np.int64)
    pending_count = np.zeros(count, dtype=np.int64)

    stack = np.arange(count)[::-1].copy()
    queued = np.ones(count, dtype=np.bool_)
    top = count
    while top > 0:
        top -= 1
        u = stack[top]
        queued[u] = False
        stages = units[u, STAGES]
        while True:
            # The next iteration in which something happens: a frame begins, a stream is touched, a word leaves.
            k_event = NEVER
            if segment[u] < units[u, LAST_SEGMENT]:
                k_event = base[u] + offsets[event[u]]
            k_leave = NEVER
            if pending_count[u] > 0:
                k_leave = pending[u, pending_first[u]]
            k = min(k_event, k_leave)
            k_frame = units[u, ONCE] + (frame[u] + 1) * units[u, FRAME]
            if frame[u] + 1 < frames and k_frame <= k:
                t = last_t[u] + k_frame - last_k[u]
                if frame[u] >= 0:
                    t = max(t, starts[u, frame[u]] + pace)
                frame[u] += 1
                starts[u, frame[u]] = t
                last_k[u] = k_frame
                last_t[u] = t
                if k_frame == k_event or k_frame == k_leave:
                    last_k[u] = k_frame
                continue
            if k == NEVER:
                answers[u, STATE] = DONE
                break

            t = last_t[u] + k - last_k[u]
            if even and frame[u] >= 0:
                t = max(
                    t, starts[u, frame[u]] + (k - units[u, ONCE] - frame[u] * units[u, FRAME]) * pace // units[u, FRAME]
                )
            ideal = t
            flag = 0
            if k == k_event:
                flag = flags[event[u]]
            reads = flag & 1 != 0
            leaves = k == k_leave or (flag & 2 != 0 and stages == 0)
            reserves = (flag & 2 != 0) if reserve_early else leaves
            kind = EMPTY
            blocked = -1
            if reads:
                for i in range(units[u, FIRST_IN], units[u, LAST_IN]):
                    s = ports[i]
                    if written[s] <= read[s]:
                        blocked = s
                        break
                    size = streams[s, DEPTH] + 2
                    t = max(t, written_at[streams[s, RING] + read[s] % size] + 1)
            if blocked < 0 and reserves:
                for i in range(units[u, FIRST_OUT], units[u, LAST_OUT]):
                    s = ports[i]
                    freed = reserved[s] - streams[s, DEPTH]
                    if freed >= 0:
                        if read[s] <= freed:
                            blocked = s
                            kind = FULL
                            break
                        free = read_at[streams[s, RING] + freed % (streams[s, DEPTH] + 2)] + 1
                        if free > t:
                            t = free
                            kind = FULL
            if blocked >= 0:
                answers[u, STATE] = kind
                answers[u, WAITS_FOR] = blocked
                break

            if t > ideal:
                answers[u, EMPTY_STALL if kind == EMPTY else FULL_STALL] += t - ideal
            last_k[u] = k
            last_t[u] = t
            f = frame[u]
            if f >= 0:
                ends[u, f] = t
                digests[u, f] = digests[u, f] * 1000003 + (t - f * pace)
            for i in range(units[u, FIRST_IN], units[u, LAST_OUT]):
                s = ports[i]
                if i < units[u, LAST_IN]:
                    if not reads:
                        continue
                    read_at[streams[s, RING] + read[s] % (streams[s, DEPTH] + 2)] = t
                    read[s] += 1
                    other = streams[s, WRITER]
                else:
                    if reserves:
                        reserved[s] += 1
                    if not leaves:
                        continue
                    written_at[streams[s, RING] + written[s] % (streams[s, DEPTH] + 2)] = t
                    written[s] += 1
                    other = streams[s, READER]
                if not queued[other] and answers[other, STATE] != DONE and answers[other, WAITS_FOR] == s:
                    queued[other] = True
                    stack[top] = other
                    top += 1
                # The fill that this schedule needs: words written and not read before the cycle of each write.
                size = streams[s, DEPTH] + 2
                while seen_writes[s] < written[s]:
                    moment = written_at[streams[s, RING] + seen_writes[s] % size]
                    while seen_reads[s] < read[s] and read_at[streams[s, RING] + seen_reads[s] % size] < moment:
                        seen_reads[s] += 1
                    fill[s] = max(fill[s], seen_writes[s] - seen_reads[s] + (1 if seen_reads[s] < read[s] else 0))
                    if seen_reads[s] == read[s]:
                        break
                    seen_writes[s] += 1

            if k == k_leave:
                pending_first[u] = (pending_first[u] + 1) % most_stages
                pending_count[u] -= 1
            if k == k_event:
                if flag & 2 != 0 and stages > 0:
                    pending[u, (pending_first[u] + pending_count[u]) % most_stages] = k + stages
                    pending_count[u] += 1
                event[u] += 1
                if event[u] == segments[segment[u], LAST_EVENT]:
                    base[u] += segments[segment[u], LENGTH]
                    repeat[u] += 1
                    if repeat[u] == segments[segment[u], REPEATS]:
                        repeat[u] = 0
                        segment[u] += 1
                    if segment[u] < units[u, LAST_SEGMENT]:
                        event[u] = segments[segment[u], FIRST_EVENT]
    for s in range(len(streams)):
        fill[s] = max(fill[s], written[s] - read[s])
    for u in range(count):
        answers[u, BUSY] = last_k[u] + 1
    return answers, fill, starts, ends, digests
