"""a (4 lanes) -> (6 lanes) b   becomes   a -> WidthConvert(4, 12) -> WidthConvert(12, 6) -> b."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from toolchain.ir.graph import Graph
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism
from toolchain.units.converters import converter_steps
from toolchain.units.order import parallelism


def insert_width_converters(graph: Graph, input_lanes: int, output_lanes: Sequence[int]) -> Graph:
    """Converters wherever a unit reads other lanes than its producer writes, at the reader and the writers too.

    Two of them where the widths have no integer ratio, see ``converter_steps``.
    """
    taken = graph.names()
    lanes = {graph.input.name: input_lanes}
    ultra = dict.fromkeys(lanes, False)
    values = graph.values()
    nodes: list[Node] = []

    def convert(name: str, wanted: int) -> str:
        value = values[name]
        for step in converter_steps(lanes[name], wanted, value.qint.bits):
            output = replace(value, name=taken.fresh(f"{name}_x{step}"))
            unit = taken.fresh(f"{output.name}_convert")
            pair = Parallelism(lanes[value.name], step, ultra=ultra[name])
            nodes.append(WidthConvert(name=unit, inputs=(value.name,), outputs=(output,), parallelism=pair))
            lanes[output.name], ultra[output.name] = step, ultra[name]
            value = output
        return value.name

    for node in graph.nodes:
        pair = parallelism(node)
        inputs = tuple(convert(name, pair.lanes_in) for name in node.inputs)
        nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
        lanes |= {value.name: pair.lanes_out for value in node.outputs}
        ultra |= {value.name: pair.ultra for value in node.outputs}
    ends = [convert(output.value, wanted) for output, wanted in zip(graph.outputs, output_lanes, strict=True)]
    return graph if len(nodes) == len(graph.nodes) else graph.with_nodes(nodes).with_output_values(ends)
