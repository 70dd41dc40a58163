"""The hardware between two units: a FIFO and, where their words differ in width, converters."""

from __future__ import annotations

from toolchain.dse.problem import Link, Port
from toolchain.ir.ops.wiring import WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.converters import converter_steps
from toolchain.units.fabric_costs import fifo
from toolchain.units.limits import MIN_DEPTH
from toolchain.units.table import schedule, unit_cost


def stream_fifo(value: Value, lanes: int, pauses: int, *, ultra: bool = False) -> Resources:
    """The FIFO of a stream that bridges ``pauses`` words."""
    return fifo(MIN_DEPTH + pauses, lanes * value.qint.bits, ultra=ultra)


def link(value: Value, writer: Port, reader: Port) -> Link:
    """Return the converters and FIFOs that lead ``value`` from ``writer`` to ``reader``."""
    unit = WidthConvert(name="converter", inputs=(value.name,), outputs=(value,))
    lanes, pause, slowest = writer.lanes, writer.pause, 0
    parts = []
    for wanted in converter_steps(writer.lanes, reader.lanes, value.qint.bits):
        pair = Parallelism(lanes, wanted, ultra=writer.ultra)
        timing = schedule(unit, value, pair)
        (reading,), writing = timing.pause_words()
        parts += [stream_fifo(value, lanes, pause + reading, ultra=writer.ultra), unit_cost(unit, value, pair)]
        lanes, pause, slowest = wanted, writing, max(slowest, timing.cycles)
    parts.append(stream_fifo(value, lanes, pause + reader.pause, ultra=writer.ultra))
    return Link(slowest, total(parts))
