"""The cycle simulator: when every unit of a HARDWARE graph works, waits and finishes, exact per clock cycle.

What is exact: each unit is the loop of its C++ (its schedule), one iteration a clock cycle, later while a word it reads
is missing. Its pipeline goes on meanwhile (``style=flp``), and stands still while the word at its end finds its FIFO
full. A FIFO shows a written word, and a freed place, one cycle later. What HLS decides is an assumption: a word leaves
``PIPELINE_STAGES`` cycles after the iteration that computed it. Bursts from and to DDR are taken to keep up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import READ, write_units
from toolchain.ir.graph import Graph
from toolchain.simulate import engine
from toolchain.units.limits import MIN_DEPTH
from toolchain.units.schedule import Iterations, sends, takes
from toolchain.units.table import iterations
from toolchain.units.totals import graph_cycles, reader_lanes, stream_cycles, writer_lanes

PIPELINE_STAGES = 8
"""Cycles between a read and the write that follows from it: an assumption, HLS decides it."""

MOST_FRAMES = 40


@dataclass(frozen=True)
class UnitTiming:
    """Clock cycles in which a unit worked, waited for a word, and waited for room."""

    busy: int
    empty_stall: int
    full_stall: int


@dataclass(frozen=True)
class Deadlock:
    """Units that wait for each other: ``waiting`` maps a unit to the value it waits for, ``full`` FIFOs to depths."""

    waiting: Mapping[str, str]
    full: Mapping[str, int]

    def __str__(self) -> str:
        fifos = ", ".join(f"'{name}' (depth {depth})" for name, depth in self.full.items())
        units = ", ".join(
            f"{unit} waits for {'room in' if value in self.full else 'a word of'} '{value}'"
            for unit, value in self.waiting.items()
        )
        return f"deadlock: full are the FIFOs {fifos or 'none'}; {units}"


@dataclass(frozen=True)
class Timing:
    """A call of some frames. ``frame_ends`` are the cycles after which each frame has left all writers.

    ``occupancy`` is, by value, the depth from which on its FIFO does not delay anything in this run.
    """

    frame_ends: tuple[int, ...]
    units: Mapping[str, UnitTiming]
    occupancy: Mapping[str, int]
    deadlock: Deadlock | None

    @property
    def latency_cycles(self) -> int:
        """Cycles from the start to the end of the first frame."""
        return self.frame_ends[0]

    def check(self) -> Timing:
        """Return this timing; raise VerificationError where the units wait for each other."""
        if self.deadlock is not None:
            raise VerificationError(str(self.deadlock))
        return self


def simulate(graph: Graph, frames: int = 4, *, stages: int = PIPELINE_STAGES) -> Timing:
    """Run one call of ``frames`` frames on a HARDWARE graph with the depths of its values."""
    network = Network(graph, stages)
    result = network.run(network.depths_of(graph), frames)
    return network.timing(result)


def steady_interval(graph: Graph, *, stages: int = PIPELINE_STAGES) -> int:
    """Cycles a frame of an endless run with the depths of the graph's values, rounded up to whole cycles.

    Raises:
        VerificationError: the units wait for each other.
    """
    network = Network(graph, stages)
    depths = network.depths_of(graph)
    pace = network.bound
    while not network.keeps(depths, pace):
        run = network.run(depths, network.settling_frames(pace), pace=pace)
        network.timing(run).check()
        ends = run.ends[-MOST_FRAMES // 2 :]
        pace = max(pace + 1, -int((ends[0] - ends[-1]) // (len(ends) - 1)))
    return pace


@dataclass(frozen=True)
class Run:
    """The engine's tables at the end of a run."""

    depths: np.ndarray
    verdict: int
    units: np.ndarray
    streams: np.ndarray
    frames: np.ndarray
    writers: int = 1

    @property
    def finished(self) -> bool:
        """True if every unit did all its frames."""
        return bool((self.units[:, engine.STATE] == engine.DONE).all())

    @property
    def ends(self) -> np.ndarray:
        """The cycle of the last read of every frame by any of the ``writers``, which are the last units."""
        return np.asarray(self.frames[engine.END, -self.writers :].max(axis=0))

    @property
    def fill(self) -> np.ndarray:
        """The depth of every stream from which on its FIFO delays nothing in this run."""
        left = self.streams[:, engine.WRITTEN] - self.streams[:, engine.READ]
        return np.maximum(self.streams[:, engine.FILL], left)


class Network:
    """A HARDWARE graph as tables: the reader, the units in topological order, the writers, and their streams.

    ``iterations`` counts those of all units in all runs so far: what the runs cost.
    """

    def __init__(self, graph: Graph, stages: int = PIPELINE_STAGES) -> None:
        self.graph, self.stages = graph, stages
        self.iterations = 0
        self.bound = graph_cycles(graph)
        alias = {node.output.name: node.inputs[0] for node in graph.nodes if node.renames}
        self.source = {name: _root(name, alias) for name in graph.values()}
        self.streams = tuple(name for name, root in self.source.items() if name == root)
        self.nodes = tuple(node for node in graph.nodes if not node.renames)
        self.units = (READ, *(node.name for node in self.nodes), *write_units(graph))
        self._tables: dict[int, tuple[np.ndarray, ...]] = {}
        self._latencies: dict[int | None, int] = {}
        place = {name: i for i, name in enumerate(self.streams)}
        inputs = [
            [],
            *([place[self.source[n]] for n in node.inputs] for node in self.nodes),
            *([place[self.source[output.value]]] for output in graph.outputs),
        ]
        outputs = [
            [place[graph.input.name]],
            *([place[v.name] for v in node.outputs] for node in self.nodes),
            *([] for _ in graph.outputs),
        ]
        self._inputs: list[list[int]] = inputs
        self._outputs: list[list[int]] = outputs
        self._writers = {s: u for u, found in enumerate(outputs) for s in found}
        self._readers = {s: u for u, found in enumerate(inputs) for s in found}

    def depths_of(self, graph: Graph) -> np.ndarray:
        """Depth of every stream by the values of ``graph``."""
        deepest = dict.fromkeys(self.streams, MIN_DEPTH)
        for name, value in graph.values().items():
            root = self.source[name]
            deepest[root] = max(deepest[root], value.depth or MIN_DEPTH)
        return np.array([deepest[name] for name in self.streams], dtype=np.int64)

    def schedules(self, frames: int) -> list[Iterations]:
        """Iterations of every unit over ``frames`` frames."""
        graph = self.graph
        written = zip(graph.ends, writer_lanes(graph), strict=True)
        return [
            sends(stream_cycles(graph.input, reader_lanes(graph))).over(frames),
            *(iterations(node, graph.value(node.inputs[0]), frames) for node in self.nodes),
            *(takes(stream_cycles(value, lanes)).over(frames) for value, lanes in written),
        ]

    def frame_words(self) -> np.ndarray:
        """Words a frame of every stream."""
        lanes = [reader_lanes(self.graph), *(n.parallelism.lanes_out for n in self.nodes if n.parallelism)]
        sizes = [self.graph.value(name).size for name in self.streams]
        return np.array([size // lanes[self._writers[s]] for s, size in enumerate(sizes)], dtype=np.int64)

    def widths(self) -> np.ndarray:
        """Bits of a word of every stream."""
        values = [self.graph.value(name) for name in self.streams]
        words = self.frame_words().tolist()
        return np.array([v.size // count * v.qint.bits for v, count in zip(values, words, strict=True)], dtype=np.int64)

    def values_of_streams(self) -> list[list[str]]:
        """The values that every stream carries."""
        carried: dict[str, list[str]] = {name: [] for name in self.streams}
        for name, root in self.source.items():
            carried[root].append(name)
        return list(carried.values())

    def run(
        self,
        depths: np.ndarray,
        frames: int,
        *,
        pace: int = 0,
        even: bool = False,
        watch: bool = False,
        stages: np.ndarray | int | None = None,
    ) -> Run:
        """Run ``frames`` frames.

        Args:
            depths: words of every stream's FIFO.
            pace: no unit starts a frame less than this many cycles behind its last one.
            even: units spread their iterations over ``pace`` cycles.
            watch: stop as soon as the run is known to keep or to miss the pace; ``fill`` is not found.
            stages: of every unit's pipeline, at least 1, instead of the network's.
        """
        if frames not in self._tables:
            self._tables[frames] = self._table(frames)
        units, segments, events, ports = self._tables[frames]
        units = units.copy()
        units[:, engine.STAGES] = self.stages if stages is None else stages
        streams = self._stream_table(depths)
        times = np.zeros((2, int(streams[:, engine.MASK].sum()) + len(streams)), dtype=np.int64)
        leaving = np.zeros((3, len(units), 1 << int(units[:, engine.STAGES].max()).bit_length()), dtype=np.int64)
        answers = np.zeros((4, len(units), frames), dtype=np.int64)
        rules = np.array([pace, even, watch], dtype=np.int64)
        stack = np.arange(len(units))[::-1].copy()
        queued = np.ones(len(units), dtype=np.bool_)
        verdict = engine.run(units, segments, events, ports, streams, times, leaving, answers, rules, stack, queued)
        self.iterations += int((units[:, engine.LAST_K] + 1).sum())
        return Run(depths, verdict, units, streams, answers, len(self.graph.outputs))

    def _stream_table(self, depths: np.ndarray) -> np.ndarray:
        table = np.zeros((len(self.streams), engine.STREAM_COLUMNS), dtype=np.int64)
        table[:, engine.DEPTH] = depths
        table[:, engine.WRITER] = [self._writers[s] for s in range(len(depths))]
        table[:, engine.READER] = [self._readers[s] for s in range(len(depths))]
        sizes = np.array([1 << int(depth + 1).bit_length() for depth in depths])
        table[1:, engine.RING] = np.cumsum(sizes)[:-1]
        table[:, engine.MASK] = sizes - 1
        return table

    def keeps(self, depths: np.ndarray, pace: int, *, stages: int | None = None) -> bool:
        """Tell whether frames follow each other every ``pace`` cycles for ever; ``stages`` replaces the network's own.

        Units held to that pace must reach a state that repeats: all times of a frame are those of the one before plus
        ``pace``. Then this schedule is possible, and units that are not held back are never later. A run that does not
        settle in ``settling_frames`` counts as no.
        """
        frames = self.settling_frames(pace, stages)
        return self.run(depths, frames, pace=pace, watch=True, stages=stages).verdict == engine.STEADY

    def settling_frames(self, pace: int, stages: int | None = None) -> int:
        """Frames in which a run settles: ``MOST_FRAMES``, or three times those that are on the way at once."""
        return max(MOST_FRAMES, 3 * self.frames_on_the_way(pace, stages))

    def frames_on_the_way(self, pace: int, stages: int | None = None) -> int:
        """Frames that come in every ``pace`` cycles before the first one has left: an unrolled cell has dozens."""
        if stages not in self._latencies:
            roomy = self.frame_words() + 2 * MIN_DEPTH
            self._latencies[stages] = int(self.run(roomy, 1, stages=stages).ends[0])
        return self._latencies[stages] // pace

    def timing(self, run: Run) -> Timing:
        """Return the timing of a run by the names of units and values."""
        frames = run.frames.shape[2]
        units = {}
        for name, row in zip(self.units, run.units, strict=True):
            total = int(row[engine.ONCE] + frames * row[engine.FRAME])
            done = row[engine.STATE] == engine.DONE
            busy = total if done else min(int(row[engine.LAST_K]) + 1, total)
            units[name] = UnitTiming(busy, int(row[engine.EMPTY_STALL]), int(row[engine.FULL_STALL]))
        fill = dict(zip(self.streams, run.fill.tolist(), strict=True))
        occupancy = {name: fill[root] for name, root in self.source.items()}
        ends = tuple(int(end) + 1 + self.stages for end in run.ends)
        return Timing(ends, units, occupancy, None if run.finished else self._deadlock(run))

    def _deadlock(self, run: Run) -> Deadlock:
        stuck = [u for u in range(len(self.units)) if run.units[u, engine.STATE] != engine.DONE]
        for_room = {u: run.units[u, engine.STATE] == engine.FULL for u in stuck}
        column = {u: engine.WAITS_FOR_ROOM if room else engine.WAITS_FOR_WORD for u, room in for_room.items()}
        waiting = {self.units[u]: int(run.units[u, column[u]]) for u in stuck}
        full = {waiting[self.units[u]] for u in stuck if for_room[u]}
        return Deadlock(
            {unit: self.streams[s] for unit, s in waiting.items()},
            {self.streams[s]: int(run.depths[s]) for s in sorted(full)},
        )

    def _table(self, frames: int) -> tuple[np.ndarray, ...]:
        """Units, segments, events and ports as the engine starts with them; equal patterns are stored once."""
        schedules = self.schedules(frames)
        units = np.zeros((len(schedules), engine.UNIT_COLUMNS), dtype=np.int64)
        segments: list[tuple[int, int, int, int]] = []
        events: list[tuple[int, int]] = []
        ports: list[int] = []
        known: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        for row, schedule, ins, outs in zip(units, schedules, self._inputs, self._outputs, strict=True):
            row[engine.ONCE], row[engine.FRAME], row[engine.SEGMENT] = schedule.once, schedule.frame, len(segments)
            for segment in schedule.segments:
                content = segment.offsets, segment.flags
                if content not in known:
                    known[content] = len(events)
                    events += zip(*content, strict=True)
                first = known[content]
                segments.append((segment.length, segment.repeats, first, first + len(segment.offsets)))
            row[engine.LAST_SEGMENT] = len(segments)
            row[engine.FIRST_IN], row[engine.LAST_IN] = len(ports), len(ports) + len(ins)
            ports += [*ins, *outs]
            row[engine.FIRST_OUT], row[engine.LAST_OUT] = row[engine.LAST_IN], len(ports)
        first_events = [segments[row[engine.SEGMENT]][engine.FIRST_EVENT] for row in units]
        units[:, engine.EVENT] = first_events
        units[:, [engine.K_EVENT, engine.FLAG]] = np.array(events)[first_events]
        units[:, [engine.LAST_K, engine.LAST_MOVE, engine.BEGUN]] = -1
        return units, np.array(segments), np.array(events), np.array(ports)


def _root(name: str, alias: Mapping[str, str]) -> str:
    while name in alias:
        name = alias[name]
    return name


def unit_cycles(graph: Graph, frames: int) -> dict[str, int]:
    """Clock cycles that every unit works in a call of ``frames`` frames, the reader and the writer included."""
    network = Network(graph)
    return {name: found.count for name, found in zip(network.units, network.schedules(frames), strict=True)}
