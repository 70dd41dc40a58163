"""A HARDWARE graph to an HLS project: pure, a mapping from path to text. Writing and running are other functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from toolchain.errors import UserError
from toolchain.hls_templates.host import host_facts, host_files
from toolchain.hls_templates.literals import array_text
from toolchain.hls_templates.names import function_name, identifiers
from toolchain.hls_templates.render import headers, render
from toolchain.hls_templates.streams import Stream, streams
from toolchain.ir.encode import random_codes
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.verify import Level, verify
from toolchain.units.call import Call
from toolchain.units.limits import MEMORY_BITS
from toolchain.units.table import template

READ, WRITE = "@read", "@write"
"""Names of the units at the ends of a graph with one output, beside those of the nodes."""

MEMORY_PORTS = 4
"""Ports to memory that an accelerator has at most: a Zynq UltraScale+ has as many for it (S_AXI_HP0 to 3, AMD UG1085),
and each end has a channel of its own, of reading or of writing."""

TESTBENCH_CODES = 1 << 14
"""Input codes stored for the testbench, in one frame at least."""

MAX_TESTBENCH_FRAMES = 3

CLOCK_UNCERTAINTY = 27
"""Percent of the clock's period that Vitis HLS leaves to placement and routing: its default (AMD UG1399), stated."""


class Target(Protocol):
    """The facts of a board that the generator needs."""

    @property
    def name(self) -> str:
        """Name of the board."""

    @property
    def part(self) -> str:
        """The device as Vivado names it."""


@dataclass(frozen=True)
class End:
    """The reader or a writer: a stream to or from 128-bit words of memory.

    ``role`` names it in C++, ``port`` is the accelerator's argument, ``bundle`` its port to memory. ``output`` is the
    name of the graph's output, "" of the input; of its ``channels`` the last ``padded`` are not the network's.
    """

    role: str
    id: int
    stream: Stream
    port: str
    bundle: str
    output: str = ""
    channels: int = 0
    padded: int = 0

    @property
    def suffix(self) -> str:
        """The part of ``role`` that differs between outputs."""
        return self.role.removeprefix("output")

    @property
    def groups(self) -> int:
        """Stream words a frame."""
        return self.stream.size // self.stream.lanes

    @property
    def groups_a_word(self) -> int:
        """Stream words that one word of memory holds."""
        return MEMORY_BITS // self.stream.bits

    @property
    def words(self) -> int:
        """Words of memory a frame."""
        return -(-self.groups // self.groups_a_word)


@dataclass(frozen=True)
class Place:
    """A node's place in the project: the identifier and the number of its unit, and its streams."""

    node: Node
    name: str
    id: int
    inputs: tuple[Stream, ...]
    outputs: tuple[Stream, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of all streams in the order of the unit's parameters."""
        return tuple(stream.name for stream in (*self.inputs, *self.outputs))


@dataclass(frozen=True)
class PlacedUnit(Place):
    """A node's unit and its place."""

    unit: Call

    @property
    def arguments(self) -> list[str]:
        """Arguments of the call of the header's function."""
        ins = [f"in_{i + 1}" for i in range(len(self.inputs))]
        outs = [f"out_{i + 1}" for i in range(len(self.outputs))]
        constants = [f"{self.name}_{table.name}" for table in self.unit.tables]
        if self.unit.variadic:
            return [*ins, "frames", *outs] if self.unit.variadic == "outputs" else [*outs, "frames", *ins]
        return [*ins, *outs, *constants, *(buffer.name for buffer in self.unit.buffers), "frames"]


def output_ports(graph: Graph) -> list[str]:
    """The accelerator's arguments that outputs are written to, in their order."""
    return ["out"] if len(graph.outputs) == 1 else [f"out_{output.name}" for output in graph.outputs]


def top_name(graph: Graph) -> str:
    """Name of the accelerator's function."""
    return function_name(graph.name, output_ports(graph))


def write_units(graph: Graph) -> tuple[str, ...]:
    """Name of the writer of every output, in the order of the outputs."""
    if len(graph.outputs) == 1:
        return (WRITE,)
    return tuple(f"{WRITE}_{output.name}" for output in graph.outputs)


def unit_ids(graph: Graph) -> dict[str, int]:
    """Number of every unit: the reader, the nodes that are hardware, the writers."""
    names = [READ, *(node.name for node in graph.nodes if not node.renames), *write_units(graph)]
    return {name: i for i, name in enumerate(names)}


def places(graph: Graph) -> list[Place]:
    """The places of all nodes that are hardware, in topological order."""
    carried, ids = streams(graph), unit_ids(graph)
    nodes = [node for node in graph.nodes if not node.renames]
    names = identifiers((node.name for node in nodes), (f"output_{output.name}" for output in graph.outputs))
    return [
        Place(
            node,
            names[node.name],
            ids[node.name],
            tuple(carried[name] for name in node.inputs),
            tuple(carried[value.name] for value in node.outputs),
        )
        for node in nodes
    ]


def place_units(graph: Graph) -> list[PlacedUnit]:
    """The units of all nodes that are hardware, in topological order."""
    return [PlacedUnit(p.node, p.name, p.id, p.inputs, p.outputs, template(p.node, graph)) for p in places(graph)]


def demand_ports(graph: Graph) -> None:
    """Raise UserError where ``graph`` has more outputs than there are ports to memory."""
    if len(graph.outputs) > MEMORY_PORTS:
        names = ", ".join(f"'{output.name}'" for output in graph.outputs)
        raise UserError(
            f"the network has {len(graph.outputs)} outputs, {names}, and the board {MEMORY_PORTS} ports to memory",
            hint="join outputs of one size with a Concat, and part them on the host",
        )


def ends(graph: Graph) -> tuple[End, ...]:
    """The reader and the writer of every output, in the order of the outputs.

    Raises:
        UserError: their streams are wider than the memory interface, or there are more than it has ports.
    """
    demand_ports(graph)
    carried, ids = streams(graph), unit_ids(graph)
    found = [End("input", ids[READ], carried[graph.input.name], "in", "gmem0")]
    for i, (output, unit, port) in enumerate(zip(graph.outputs, write_units(graph), output_ports(graph), strict=True)):
        bundle = f"gmem{(i + 1) % MEMORY_PORTS}"  # the reader's port writes too where the others do not suffice
        role = f"output{port.removeprefix('out')}"
        channels = graph.value(output.value).shape[2]
        found.append(End(role, ids[unit], carried[output.value], port, bundle, output.name, channels, output.padded))
    for end in found:
        if end.stream.bits > MEMORY_BITS:
            raise UserError(
                f"the {end.role} stream carries {end.stream.bits} bits a cycle, the memory port {MEMORY_BITS}",
                where=f"value {end.stream.values[-1]}",
                hint="choose fewer lanes or insert a width conversion",
            )
    return tuple(found)


def generate(graph: Graph, board: Target, clock_mhz: float) -> dict[str, str]:
    """The HLS project of a HARDWARE graph as ``{path: text}``, paths relative to the project's folder.

    Raises:
        UserError: a unit or a stream is beyond what Vitis HLS or the board's memory port accepts.
        IllFormed: ``graph`` is no HARDWARE graph.
    """
    verify(graph, Level.HARDWARE)
    units = place_units(graph)
    project = {**headers(), **unit_sources(units), **host_files(graph), **_vectors(graph)}
    variables = _project_variables(graph, board, clock_mhz, units)
    for path, name in (
        ("src/top.cpp", "top.cpp"),
        ("src/top.hpp", "top.hpp"),
        ("src/streams.hpp", "streams.hpp"),
        ("host/encode.hpp", "encode.hpp"),
        ("tb/testbench.cpp", "testbench.cpp"),
        ("run_hls.tcl", "run_hls.tcl"),
        ("hls_config.cfg", "hls_config.cfg"),
        ("run.sh", "run.sh"),
        ("README.txt", "README.txt"),
    ):
        project[path] = render(name, variables)
    return dict(sorted(project.items()))


def driver(graph: Graph) -> str:
    """C++ that calls every unit of the project by itself, for the C simulation; it includes the top function."""
    reader, *writers = ends(graph)
    return render("drive.cpp", {"top": top_name(graph), "units": places(graph), "reader": reader, "writers": writers})


def clock_facts(clock_mhz: float) -> dict[str, Any]:
    """The clock as scripts and texts name it: frequency, period, and what of it the tool schedules for."""
    return {
        "clock_mhz": f"{clock_mhz:g}",
        "period": f"{1000 / clock_mhz:.3f}",
        "uncertainty": CLOCK_UNCERTAINTY,
        "scheduled": f"{10 * (100 - CLOCK_UNCERTAINTY) / clock_mhz:.2f}",
    }


def _project_variables(graph: Graph, board: Target, clock_mhz: float, units: list[PlacedUnit]) -> dict[str, Any]:
    reader, *writers = ends(graph)
    frames = testbench_frames(graph)
    return {
        "top": top_name(graph),
        "board": board.name,
        "part": board.part,
        **clock_facts(clock_mhz),
        "nodes": units,
        "streams": sorted({s.index: s for s in streams(graph).values()}.values(), key=lambda s: s.index),
        "reader": reader,
        "writers": writers,
        "frames": frames,
        "host": host_facts(graph),
        "data": [],
        "bursts_in_luts": False,
        "sources": ["src/top.cpp", *(f"src/units/{unit.name}.cpp" for unit in units)],
    }


def unit_sources(units: Sequence[PlacedUnit]) -> dict[str, str]:
    """The source of every unit and the tables of constants it includes."""
    project: dict[str, str] = {}
    for placed in units:
        variables = {
            "node": placed.node.name,
            "op": type(placed.node).__name__,
            "origin": placed.node.origin,
            "name": placed.name,
            "id": placed.id,
            "unit": placed.unit,
            "streams_in": placed.inputs,
            "streams_out": placed.outputs,
            "arguments": placed.arguments,
        }
        project[f"src/units/{placed.name}.cpp"] = render("unit.cpp", variables)
        for table in placed.unit.tables:
            what = f"table '{table.name}' of unit '{placed.node.name}'"
            project[f"src/data/{placed.name}_{table.name}.inc"] = array_text(table.values, table.type, what)
    return project


def testbench_frames(graph: Graph) -> int:
    """Frames stored for the testbench."""
    return max(1, min(MAX_TESTBENCH_FRAMES, TESTBENCH_CODES // graph.input.size))


def _vectors(graph: Graph) -> dict[str, str]:
    """Random input codes of a fixed seed and the codes that the evaluator answers."""
    codes = random_codes(graph, testbench_frames(graph))
    answers, found = evaluate(graph, codes), {}
    for end, value in zip(ends(graph)[1:], graph.ends, strict=True):
        found[f"tb/expected_codes{end.suffix}.inc"] = array_text(
            answers[value.name].reshape(-1), value.qint, "an answer"
        )
    return {"tb/input_codes.inc": array_text(codes.reshape(-1), graph.input.qint, "a test vector")} | found
