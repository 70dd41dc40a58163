"""The compiled core of the cycle simulator: exact start times of iterations, by the streams that they wait for.

Iteration k of a unit starts one cycle after iteration k - 1, or later: when a word that it reads has been in its FIFO
for a cycle, and when a word that leaves the pipeline with it has a free place, freed a cycle before. These are the only
waits, so start times follow from the neighbours' times without stepping a clock. Each unit runs until it needs a time
that is not known yet; the order in which units run changes nothing.

State is a few integer tables that every function gets whole.
"""

from __future__ import annotations

from typing import Any

from numba import njit

# Counting references to the tables at every call took ten times as long as the arithmetic; nothing is allocated here.
_OPTIONS: dict[str, Any] = {"cache": True, "_nrt": False}
compiled: Any = njit(**_OPTIONS)
inlined: Any = njit(inline="always", **_OPTIONS)

NEVER = 1 << 62

# Columns of the table of units. First what is given: iterations before the first frame and of a frame, stages of the
# pipeline, ranges of segments and ports. Then where the unit is: the last iteration and its time, the segment and its
# repetition, the event and its iteration and flags, where the repetition began, frames begun, words in the pipeline.
# Then its answers: what it waits for, and cycles lost by kind of wait.
ONCE, FRAME, STAGES, LAST_SEGMENT, FIRST_IN, LAST_IN, FIRST_OUT, LAST_OUT = range(8)
LAST_K, LAST_T, SEGMENT, REPEAT, EVENT, K_EVENT, FLAG, BASE, BEGUN, LEAVE_FIRST, LEAVE_COUNT, LEAVE = range(8, 20)
STATE, WAITS_FOR, EMPTY_STALL, FULL_STALL = range(20, 24)
UNIT_COLUMNS = 24
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
START, END, DIGEST = range(3)
# How to run: see Network.run.
PACE, EVEN, WATCH = range(3)
# What a watched run says of the pace, and what a unit waits for in the end.
UNKNOWN, STEADY, DRIFTING = range(3)
DONE, EMPTY, FULL = range(3)


@compiled
def run(units, segments, events, ports, streams, times, leaving, frames, rules, stack, queued):
    """Run to the end, to a deadlock, or until a watched run is decided; returns its verdict and fills the tables.

    ``frames`` holds start, last time and digest by unit and frame. The digest covers all times of a frame relative to
    the pace: equal digests mean equal times.
    """
    count = len(units)
    top = count
    while top > 0:
        top -= 1
        u = stack[top]
        queued[u] = False
        while True:
            k = min(units[u, K_EVENT], units[u, LEAVE])
            begin = units[u, ONCE] + (units[u, BEGUN] + 1) * units[u, FRAME]
            if begin <= k and units[u, BEGUN] + 1 < frames.shape[2]:
                begin_frame(units, frames, rules, u, begin)
                if rules[WATCH] and u == count - 1:
                    verdict = judge(units, frames, rules[PACE])
                    if verdict != UNKNOWN:
                        return verdict
            elif k == NEVER:
                units[u, STATE] = DONE
                break
            elif start(units, ports, streams, times, frames, rules, u, k):
                top = move_words(units, ports, streams, times, rules, stack, queued, top, u, k)
                advance(units, segments, events, leaving, u, k)
            else:
                break
    return UNKNOWN


@inlined
def begin_frame(units, frames, rules, u, k):
    """Iteration ``k`` is the first of a frame: not before the pace allows it."""
    t = units[u, LAST_T] + k - units[u, LAST_K]
    f = units[u, BEGUN]
    if f >= 0:
        t = max(t, frames[START, u, f] + rules[PACE])
    units[u, BEGUN] = f + 1
    units[u, LAST_K] = k
    units[u, LAST_T] = t
    frames[START, u, f + 1] = t


@compiled
def judge(units, frames, pace):
    """Whether frames repeat at the pace or leave ever later; asked when the last unit begins a frame.

    Steady: two frames in a row that every unit has ended are like the one before. Drifting: the last unit was late by
    the same time three frames in a row.
    """
    f = units[-1, BEGUN]
    for u in range(len(units)):
        f = min(f, units[u, BEGUN])
    f -= 1
    if f >= 2:
        same = True
        for u in range(len(units)):
            last = frames[DIGEST, u, f]
            if last != frames[DIGEST, u, f - 1] or last != frames[DIGEST, u, f - 2]:
                same = False
                break
        if same:
            return STEADY
    f = units[-1, BEGUN]
    if f >= 5:
        w = len(units) - 1
        late = frames[START, w, f] - frames[START, w, f - 1] - pace
        before = frames[START, w, f - 1] - frames[START, w, f - 2] - pace
        if late > 0 and late == before and late == frames[START, w, f - 2] - frames[START, w, f - 3] - pace:
            return DRIFTING
    return UNKNOWN


@inlined
def read_ports(units, u, flag):
    """The ports that an iteration with ``flag`` reads: all inputs, or only number (flag >> 2) - 1."""
    first, last = units[u, FIRST_IN], units[u, LAST_IN]
    if flag >> 2:
        first += (flag >> 2) - 1
        last = first + 1
    return range(first, last)


@inlined
def start(units, ports, streams, times, frames, rules, u, k):
    """Start iteration ``k`` if the times that it waits for are known; False, and why not in the answers, otherwise."""
    t = units[u, LAST_T] + k - units[u, LAST_K]
    f = units[u, BEGUN]
    if rules[EVEN] and f >= 0:
        t = max(t, frames[START, u, f] + (k - units[u, ONCE] - f * units[u, FRAME]) * rules[PACE] // units[u, FRAME])
    ideal, kind = t, EMPTY
    flag = units[u, FLAG] if k == units[u, K_EVENT] else 0
    if flag & 1:
        for i in read_ports(units, u, flag):
            s = ports[i]
            word = streams[s, READ]
            if streams[s, WRITTEN] <= word:
                units[u, STATE], units[u, WAITS_FOR] = EMPTY, s
                return False
            t = max(t, times[WRITTEN_AT, streams[s, RING] + (word & streams[s, MASK])] + 1)
    if k == units[u, LEAVE]:
        for i in range(units[u, FIRST_OUT], units[u, LAST_OUT]):
            s = ports[i]
            freed = streams[s, WRITTEN] - streams[s, DEPTH]
            if freed >= 0:
                if streams[s, READ] <= freed:
                    units[u, STATE], units[u, WAITS_FOR] = FULL, s
                    return False
                free = times[READ_AT, streams[s, RING] + (freed & streams[s, MASK])] + 1
                if free > t:
                    t, kind = free, FULL
    units[u, EMPTY_STALL if kind == EMPTY else FULL_STALL] += t - ideal
    units[u, LAST_K], units[u, LAST_T] = k, t
    if f >= 0:
        frames[END, u, f] = t
        frames[DIGEST, u, f] = frames[DIGEST, u, f] * 1000003 + (t - f * rules[PACE])
    return True


@inlined
def move_words(units, ports, streams, times, rules, stack, queued, top, u, k):
    """Count the words of iteration ``k`` and queue the units that waited for them; returns the stack's new height."""
    t = units[u, LAST_T]
    flag = units[u, FLAG] if k == units[u, K_EVENT] else 0
    if flag & 1:
        for i in read_ports(units, u, flag):
            s = ports[i]
            times[READ_AT, streams[s, RING] + (streams[s, READ] & streams[s, MASK])] = t
            streams[s, READ] += 1
            if not rules[WATCH]:
                see_fill(streams, times, s)
            other = streams[s, WRITER]
            if not queued[other] and units[other, STATE] == FULL and units[other, WAITS_FOR] == s:
                queued[other] = True
                stack[top] = other
                top += 1
    if k == units[u, LEAVE]:
        for i in range(units[u, FIRST_OUT], units[u, LAST_OUT]):
            s = ports[i]
            times[WRITTEN_AT, streams[s, RING] + (streams[s, WRITTEN] & streams[s, MASK])] = t
            streams[s, WRITTEN] += 1
            if not rules[WATCH]:
                see_fill(streams, times, s)
            other = streams[s, READER]
            if not queued[other] and units[other, STATE] == EMPTY and units[other, WAITS_FOR] == s:
                queued[other] = True
                stack[top] = other
                top += 1
    return top


@compiled
def see_fill(streams, times, s):
    """The depth that leaves this schedule as it is: words written and not read before the cycle of each write."""
    ring, mask = streams[s, RING], streams[s, MASK]
    while streams[s, SEEN_WRITES] < streams[s, WRITTEN]:
        moment = times[WRITTEN_AT, ring + (streams[s, SEEN_WRITES] & mask)]
        while (
            streams[s, SEEN_READS] < streams[s, READ]
            and times[READ_AT, ring + (streams[s, SEEN_READS] & mask)] < moment
        ):
            streams[s, SEEN_READS] += 1
        if streams[s, SEEN_READS] == streams[s, READ]:
            return
        streams[s, FILL] = max(streams[s, FILL], streams[s, SEEN_WRITES] - streams[s, SEEN_READS] + 1)
        streams[s, SEEN_WRITES] += 1


@inlined
def advance(units, segments, events, leaving, u, k):
    """Move the unit behind iteration ``k``: words leave its pipeline, computed ones enter it."""
    mask = leaving.shape[1] - 1
    if k == units[u, LEAVE]:
        units[u, LEAVE_FIRST] = (units[u, LEAVE_FIRST] + 1) & mask
        units[u, LEAVE_COUNT] -= 1
    if k == units[u, K_EVENT]:
        if units[u, FLAG] & 2:
            leaving[u, (units[u, LEAVE_FIRST] + units[u, LEAVE_COUNT]) & mask] = k + units[u, STAGES]
            units[u, LEAVE_COUNT] += 1
        next_event(units, segments, events, u)
    units[u, LEAVE] = leaving[u, units[u, LEAVE_FIRST]] if units[u, LEAVE_COUNT] > 0 else NEVER


@inlined
def next_event(units, segments, events, u):
    """The next iteration that touches a stream, by the schedule."""
    segment = units[u, SEGMENT]
    units[u, EVENT] += 1
    if units[u, EVENT] == segments[segment, LAST_EVENT]:
        units[u, BASE] += segments[segment, LENGTH]
        units[u, REPEAT] += 1
        if units[u, REPEAT] == segments[segment, REPEATS]:
            units[u, REPEAT] = 0
            segment += 1
            while segment < units[u, LAST_SEGMENT] and segments[segment, FIRST_EVENT] == segments[segment, LAST_EVENT]:
                units[u, BASE] += segments[segment, LENGTH] * segments[segment, REPEATS]  # it touches no stream
                segment += 1
            units[u, SEGMENT] = segment
        if segment == units[u, LAST_SEGMENT]:
            units[u, K_EVENT] = NEVER
            return
        units[u, EVENT] = segments[segment, FIRST_EVENT]
    units[u, K_EVENT] = units[u, BASE] + events[units[u, EVENT], OFFSET]
    units[u, FLAG] = events[units[u, EVENT], FLAGS]
