"""The facts of a build's units: cycles, resources, types, and where each comes from."""

from __future__ import annotations

from functools import cached_property

from toolchain.boards import Board
from toolchain.flow.pace import model_cycles
from toolchain.flow.records import SimulationRecord
from toolchain.hls_templates.generate import READ, write_units
from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.products import GroupedMatVec, MatVec, Product
from toolchain.ir.ranges import value_ranges
from toolchain.ir.types import QInt, Value
from toolchain.report.data import NodeFacts, Span
from toolchain.resources import Resources
from toolchain.units.table import lane_facts
from toolchain.units.totals import cost, reader_cost, reader_lanes, writer_cost, writer_lanes
from toolchain.units.zeros import zero_weight_luts

READER = "input_reader"
WRITER = "output_writer"


def node_facts(name: str, op: str, cycles: int, counted: int | None, cost: Resources, **more: object) -> NodeFacts:
    """A node; ``more`` are the facts that only some have."""
    return NodeFacts.model_validate(
        {
            "name": name,
            "op": op,
            "cycles": cycles,
            "counted_cycles": counted,
            "lut": cost.lut,
            "ff": cost.ff,
            "dsp": cost.dsp,
            "bram18": cost.bram18,
            "uram": cost.uram,
            "parallelism": {},
            "origin": [],
        }
        | more
    )


def unit_facts(graph: Graph, board: Board, simulation: SimulationRecord) -> tuple[NodeFacts, ...]:
    """Every unit of a HARDWARE ``graph``, between its memory ports, and the shell, in the order of the data."""
    shell = node_facts("shell", "Shell", 0, None, board.shell.resources)
    return (*_Units(graph, simulation).facts(), shell)


class _Units:
    """The units of a HARDWARE graph and what its C simulation counted."""

    def __init__(self, graph: Graph, simulation: SimulationRecord) -> None:
        self.graph = graph
        self.simulation = simulation
        self.values = graph.values()
        self.ranges = value_ranges(graph)
        self.model = model_cycles(graph)

    @cached_property
    def made_by(self) -> dict[str, str]:
        """The unit that writes each value; one that only renames writes none."""
        found = {self.graph.input.name: READER}
        for node in self.graph.nodes:
            source = found[node.inputs[0]] if node.renames else node.name
            found |= dict.fromkeys((value.name for value in node.outputs), source)
        return found

    def facts(self) -> list[NodeFacts]:
        """The reader, the units, the writers."""
        return [self.reader(), *(self.unit(node) for node in self.graph.nodes if not node.renames), *self.writers()]

    def reader(self) -> NodeFacts:
        """The port that reads frames from memory."""
        lanes, of_input = reader_lanes(self.graph), self.graph.input
        return self._fact(
            READER, "Read", READ, reader_cost(of_input, lanes), parallelism={"lanes": lanes}, bits=str(of_input.type)
        )

    def unit(self, node: Node) -> NodeFacts:
        """A unit that computes."""
        first = node.outputs[0]
        return self._fact(
            node.name,
            type(node).__name__,
            node.name,
            cost(node, self.graph),
            parallelism=lane_facts(node),
            bits=_bits(node, self.values),
            zero_weight_luts=_zero_weight_luts(node, self.values),
            inputs=[self.made_by[name] for name in node.inputs],
            weights=_weights(node),
            values=_span(*self.ranges[first.name], first.qint),
            origin=list(node.origin),
        )

    def writers(self) -> list[NodeFacts]:
        """The ports that write results to memory, one an output."""
        graph = self.graph
        ends = zip(graph.outputs, write_units(graph), graph.ends, writer_lanes(graph), strict=True)
        return [
            self._fact(
                WRITER if len(graph.outputs) == 1 else f"{WRITER}_{output.name}",
                "Write",
                unit,
                writer_cost(),
                parallelism={"lanes": lanes},
                bits=str(value.type),
                inputs=[self.made_by[value.name]],
            )
            for output, unit, value, lanes in ends
        ]

    def _fact(self, name: str, op: str, unit: str, resources: Resources, **more: object) -> NodeFacts:
        """A node called ``name`` in reports and ``unit`` in the C++."""
        vectors = self.simulation.vectors.get(unit)
        return node_facts(name, op, self.model[unit][0], self._counted(unit), resources, vectors=vectors, **more)

    def _counted(self, unit: str) -> int | None:
        """Cycles a frame in the C simulation, less what a unit spends once a call."""
        simulation = self.simulation
        if not simulation.images or unit not in simulation.cycles:
            return None
        return (simulation.cycles[unit] - self.model[unit][1] * simulation.calls) // simulation.images


def _span(low: int, high: int, given: QInt) -> Span:
    return Span(low=low, high=high, bits=given.bits, needed=QInt.holding(low, high).bits)


def _weights(node: Node) -> Span | None:
    if not isinstance(node, Product):
        return None
    found = _span(int(node.weight.min()), int(node.weight.max()), node.weight_type)
    return found.model_copy(update={"zeros": float((node.weight == 0).mean())})


def _zero_weight_luts(node: Node, values: dict[str, Value]) -> int | None:
    if not isinstance(node, MatVec | GroupedMatVec) or node.parallelism is None or not node.parallelism.constant:
        return None
    return zero_weight_luts(node, values[node.inputs[0]].qint)


def _bits(node: Node, values: dict[str, Value]) -> str:
    inputs = " + ".join(str(values[name].type) for name in node.inputs)
    weight = f"{node.weight_type} x " if isinstance(node, Product) else ""
    return f"{weight}{inputs} -> {node.outputs[0].type}"
