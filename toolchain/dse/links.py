"""What stands between two units: a FIFO and, where their words differ in width, converters."""

from __future__ import annotations

from math import gcd, lcm

from toolchain.dse.cost import unit_cost
from toolchain.dse.cycles import cycles
from toolchain.dse.fabric_costs import fifo
from toolchain.dse.gaps import pause_words
from toolchain.dse.problem import Joint, Link, Port
from toolchain.ir.ops import WidthConvert
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total

MAX_STREAM_BITS = 4096  # AMD UG1399: widest stream; the widest ap_uint is 4096 bits by default
MIN_DEPTH = 2


def converter_steps(have: int, wanted: int, bits: int) -> list[int]:
    """Lanes behind each converter that leads from ``have`` to ``wanted`` lanes of ``bits`` bits.

    A converter has an integer ratio; other pairs of widths take two of them through their least common multiple, or
    through their greatest common divisor where that word would be wider than a stream can be.
    """
    if have == wanted:
        return []
    if have % wanted == 0 or wanted % have == 0:
        return [wanted]
    wide = lcm(have, wanted)
    return [wide if wide * bits <= MAX_STREAM_BITS else gcd(have, wanted), wanted]


def stream_fifo(value: Value, lanes: int, pauses: int) -> Resources:
    """The FIFO of a stream that bridges ``pauses`` words."""
    return fifo(MIN_DEPTH + pauses, lanes * value.qint.bits)


def link(value: Value, writer: Port, reader: Port) -> Link:
    """What leads ``value`` from ``writer`` to ``reader``."""
    unit = WidthConvert(name="converter", inputs=(value.name,), outputs=(value,))
    lanes, pause, slowest = writer.lanes, writer.pause, 0
    parts = []
    for wanted in converter_steps(writer.lanes, reader.lanes, value.qint.bits):
        pair = Parallelism(lanes, wanted)
        reading, writing = pause_words(unit, value, pair)
        parts += [stream_fifo(value, lanes, pause + reading), unit_cost(unit, value, pair)]
        lanes, pause, slowest = wanted, writing, max(slowest, cycles(unit, value, pair))
    return Link(slowest, total((*parts, stream_fifo(value, lanes, pause + reader.pause))))


def joint(value: Value, writer: str, reader: str, writes: set[Port], reads: set[Port]) -> Joint:
    """The stream ``value`` between two decisions whose options have these ports on it."""
    return Joint(value.name, writer, reader, {(a, b): link(value, a, b) for a in writes for b in reads})
