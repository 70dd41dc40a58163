"""The units that lead streams from unit to unit: copies, and words of another width."""

from __future__ import annotations

from toolchain.errors import UserError
from toolchain.ir.graph import Graph
from toolchain.ir.ops.wiring import Fork, WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Call, input_type
from toolchain.units.fabric_costs import STREAM_LUT, logic
from toolchain.units.order import parallelism
from toolchain.units.schedule import Phase, Schedule, ends, first
from toolchain.units.unit import ElementwiseUnit, Unit, Units


class ForkUnit(ElementwiseUnit[Fork]):
    """The unit in ``elementwise.hpp``."""

    def cost(self, node: Fork, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Return the cost of a handshake."""
        return logic(STREAM_LUT)

    def template(self, node: Fork, graph: Graph) -> Call:
        """Call ``fork``; it has no tables."""
        lanes = parallelism(node).lanes_in
        constants: dict[str, int | bool] = {"words": node.outputs[0].size // lanes, "lanes": lanes}
        return Call("elementwise", "fork", constants, {"in_t": input_type(graph, node)}, variadic="outputs")


class WidthConvertUnit(Unit[WidthConvert]):
    """The unit in ``elementwise.hpp``."""

    planned = False

    def options(self, node: WidthConvert, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """Return no lanes: those of the neighbours decide."""
        return []

    def schedule(self, node: WidthConvert, x: Value, lanes: Parallelism) -> Schedule:
        """A wide word in, its parts out one by one, or the parts in and the word out with the last."""
        narrow, wide = sorted((lanes.lanes_in, lanes.lanes_out))
        parts = wide // narrow
        reads = first(1 if lanes.lanes_in > lanes.lanes_out else parts)
        writes = first(parts) if lanes.lanes_in > lanes.lanes_out else ends(parts, parts)
        return Schedule((Phase(parts, (reads,), writes),), x.size // wide)

    def cost(self, node: WidthConvert, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """A shift register of the wider word; to narrow one, the choice between a new word and what is left of it."""
        bits = max(lanes.lanes_in, lanes.lanes_out) * x.qint.bits
        narrows = lanes.lanes_in > lanes.lanes_out
        return total((logic(STREAM_LUT), Resources(lut=bits if narrows else 0, ff=bits)))

    def template(self, node: WidthConvert, graph: Graph) -> Call:
        """Call ``widen`` or ``narrow`` with both widths."""
        lanes = parallelism(node)
        narrow, wide = sorted((lanes.lanes_in, lanes.lanes_out))
        if wide % narrow:
            what = f"{lanes.lanes_in} lanes to {lanes.lanes_out}: not a whole ratio"
            raise UserError(what, where=f"node {node.name}")
        words = node.output.size // narrow
        if words % (wide // narrow):
            raise UserError(f"a frame does not fill its last word of {wide // narrow} parts", where=f"node {node.name}")
        constants: dict[str, int | bool] = {"words": words, "lanes_in": lanes.lanes_in, "lanes_out": lanes.lanes_out}
        function = "widen" if lanes.lanes_out > lanes.lanes_in else "narrow"
        return Call("elementwise", function, constants, {"in_t": input_type(graph, node)})


UNITS: Units = {Fork: ForkUnit(), WidthConvert: WidthConvertUnit()}
