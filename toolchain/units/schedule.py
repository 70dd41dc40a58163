"""The schedule of a unit's reads and writes: the loop of its C++ as patterns of iterations that repeat.

A unit is one loop at initiation interval 1. Which iterations read a word of an input and which write a word to every
output is fixed by its shape; only the moment an iteration starts depends on the neighbours. Cycles, prologue, pauses
and lag are functions of the schedule, in a few additions a pattern, however large the map is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from toolchain.ir.types import Array

READS, WRITES = 1, 2
ONE_INPUT = 4
"""Times i + 1, beside READS: only a word of input i is read."""


@dataclass(frozen=True)
class Runs:
    """``count`` runs of ``length`` iterations each, the first from ``start`` on, one every ``every`` iterations."""

    start: int
    length: int
    count: int = 1
    every: int = 1

    @property
    def words(self) -> int:
        """The number of iterations of all runs."""
        return self.count * self.length

    @property
    def offsets(self) -> Array:
        """Every iteration of the runs, ascending."""
        return (self.start + self.every * np.arange(self.count)[:, None] + np.arange(self.length)).reshape(-1)


NEVER = Runs(0, 0, 0)


def first(count: int) -> Runs:
    """Return the runs that are the first ``count`` iterations."""
    return Runs(0, count)


def ends(length: int, every: int) -> Runs:
    """The last iteration of every ``every`` of ``length`` iterations."""
    return Runs(every - 1, 1, length // every, every)


@dataclass(frozen=True)
class Phase:
    """``length`` iterations, ``repeats`` times: words come in at ``reads``, one entry an input, leave at ``writes``.

    An iteration reads all inputs, or one. A phase that ``ends_early`` does so where the call has no more words.
    """

    length: int
    reads: tuple[Runs, ...]
    writes: Runs
    repeats: int = 1
    ends_early: bool = False


@dataclass(frozen=True)
class Segment:
    """``length`` iterations, ``repeats`` times; at each of ``offsets`` it does what ``flags`` says."""

    length: int
    repeats: int
    offsets: tuple[int, ...]
    flags: tuple[int, ...]


@dataclass(frozen=True)
class Iterations:
    """A unit's iterations over a whole call: ``once`` before the first frame, then ``frame`` for each one."""

    once: int
    frame: int
    segments: tuple[Segment, ...]

    @property
    def count(self) -> int:
        """Iterations of the whole call: the clock cycles that the unit is busy."""
        return sum(segment.length * segment.repeats for segment in self.segments)


@dataclass(frozen=True)
class Schedule:
    """``head`` once a call, then ``period`` again and again, ``repeats`` times a frame.

    Reads of ``head`` are those of the first frame: later ones come that much ahead, and the last frames read what is
    left.
    """

    period: tuple[Phase, ...]
    repeats: int = 1
    head: tuple[Phase, ...] = ()

    @property
    def cycles(self) -> int:
        """The clock cycles of a frame."""
        return self.repeats * _length(self.period)

    @property
    def prologue(self) -> int:
        """Clock cycles before the first frame begins to leave, once a call."""
        return _length(self.head)

    @property
    def lag(self) -> Fraction:
        """Upper bound of (fraction of a frame read) - (fraction delivered): a phase reads before it writes."""
        found = Fraction(0)
        for i in range(len(self.period[0].reads) if self.period else 0):
            reads, writes = (_words(self.period, stream) for stream in (i, None))
            before, read, written = _words(self.head, i), 0, 0
            most = 0
            for phase in self.period:
                taken, given = phase.reads[i].words, phase.writes.words
                for n in {0, phase.repeats - 1}:  # between them it changes steadily
                    ahead = (before + read + (n + 1) * taken) * writes - (written + n * given) * reads
                    most = max(most, ahead)
                read, written = read + phase.repeats * taken, written + phase.repeats * given
            found = max(found, Fraction(most, self.repeats * reads * writes))
        return found

    def pauses(self, stream: int | None) -> Fraction:
        """Return the words by which reads of input ``stream``, or writes (None), leave an even pace, ahead and behind.

        That is from the least to the most of (words so far) - (words a cycle) * (cycles so far) over the frames in the
        middle of a call: as many words a FIFO has to hold for the unit to keep its pace. Slower neighbours stretch
        pauses and cycles alike.
        """
        return Fraction(self._unevenness(stream), max(_length(self.period), 1))

    def _unevenness(self, stream: int | None) -> int:
        """``pauses`` times the cycles of the period."""
        length, words = _length(self.period), _words(self.period, stream)
        least = most = time = moved = 0
        for phase in self.period:
            runs = _runs(phase, stream)
            for n in {0, phase.repeats - 1} if runs.count else ():
                for m in {0, runs.count - 1}:  # between them it changes steadily
                    start = time + n * phase.length + runs.start + m * runs.every
                    done = moved + n * runs.words + m * runs.length
                    least = min(least, done * length - words * start)
                    most = max(most, (done + runs.length) * length - words * (start + runs.length))
            time, moved = time + phase.repeats * phase.length, moved + phase.repeats * runs.words
        return most - least

    def pause_words(self) -> tuple[tuple[int, ...], int]:
        """Words of every input that come while the unit reads none, and that its reader takes while it writes none."""
        inputs, length = len(self.period[0].reads) if self.period else 1, max(_length(self.period), 1)
        reading = tuple(-(-self._unevenness(i) // length) for i in range(inputs))
        return reading, -(-self._unevenness(None) // length)

    def over(self, frames: int) -> Iterations:
        """The iterations of a call of ``frames`` frames, spelled out."""
        left = frames * self.repeats * _words(self.period, 0)
        head: list[Phase] = []
        for phase in self.head:
            head += _limited(phase, left)
            left -= min(left, phase.repeats * phase.reads[0].words)
        times = self.repeats * frames
        period = self.period * times if len(self.period) > 1 else _repeated(self.period, times)
        found = list(head)
        for phase in period:
            found += _limited(phase, left)
            left -= min(left, phase.repeats * phase.reads[0].words)
        known = {phase: _segment(phase) for phase in set(found)}
        return Iterations(_length(tuple(head)), self.cycles, tuple(known[phase] for phase in found))


def word_by_word(words: int, inputs: int = 1) -> Schedule:
    """Schedule of a unit that reads a word of every input and writes one in each of ``words`` cycles a frame."""
    return Schedule((Phase(1, (first(1),) * inputs, first(1)),), words)


def at_the_end(words_in: int, words_out: int) -> Schedule:
    """Schedule of a unit that reads a word a cycle and writes the frame's words with the last of them."""
    return Schedule((Phase(words_in, (first(words_in),), Runs(words_in - words_out, words_out)),))


def sends(words: int) -> Schedule:
    """Schedule of the reader at the graph's input: a word a cycle."""
    return Schedule((Phase(1, (NEVER,), first(1)),), words)


def takes(words: int) -> Schedule:
    """Schedule of the writer at the graph's output: a word a cycle."""
    return Schedule((Phase(1, (first(1),), NEVER),), words)


def _repeated(period: tuple[Phase, ...], times: int) -> tuple[Phase, ...]:
    return tuple(replace(phase, repeats=phase.repeats * times) for phase in period)


def _limited(phase: Phase, left: int) -> Iterator[Phase]:
    """``phase`` while its first input has ``left`` more words, and then without reads.

    Only units of one input that they read in one run a phase read ahead, so that words can run out.
    """
    taken = phase.reads[0].words
    full = min(phase.repeats, left // taken) if taken else phase.repeats
    rest = left - full * taken
    if full:
        yield replace(phase, repeats=full)
    if full == phase.repeats:
        return
    some = (replace(phase.reads[0], length=rest),)
    if rest:
        yield replace(phase, length=rest if phase.ends_early else phase.length, reads=some, repeats=1)
    if phase.repeats > full + bool(rest) and not phase.ends_early:
        yield replace(phase, reads=(NEVER,), repeats=phase.repeats - full - bool(rest))


def _segment(phase: Phase) -> Segment:
    flags = np.zeros(phase.length, dtype=np.int64)
    together = len(set(phase.reads)) == 1
    for i, runs in enumerate(phase.reads[:1] if together else phase.reads):
        flags[runs.offsets] |= READS + (0 if together else ONE_INPUT * (i + 1))
    flags[phase.writes.offsets] |= WRITES
    offsets = np.flatnonzero(flags)
    return Segment(phase.length, phase.repeats, tuple(offsets.tolist()), tuple(flags[offsets].tolist()))


def _length(phases: tuple[Phase, ...]) -> int:
    return sum(phase.length * phase.repeats for phase in phases)


def _runs(phase: Phase, stream: int | None) -> Runs:
    return phase.writes if stream is None else phase.reads[stream]


def _words(phases: tuple[Phase, ...], stream: int | None) -> int:
    return sum(_runs(phase, stream).words * phase.repeats for phase in phases)
